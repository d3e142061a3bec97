"""Pseudo-labels of a collection of images: the run, the dataset that it writes, and its upkeep."""
