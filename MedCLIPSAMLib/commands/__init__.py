"""The commands of `medclipsam`, one file each; heavy imports stay inside the functions."""
