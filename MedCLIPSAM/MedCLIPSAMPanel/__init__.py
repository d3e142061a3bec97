"""The sections of the panel, one a file, in the order of the work."""
