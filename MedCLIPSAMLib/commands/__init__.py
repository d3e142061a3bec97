"""The commands of `medclipsam`, a file each; heavy imports stay inside the functions."""
