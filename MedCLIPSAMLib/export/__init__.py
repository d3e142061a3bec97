"""Pseudo-labels for a collection of images: the run, the dataset that it writes, and its maintenance."""
