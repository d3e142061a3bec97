"""Pseudo-labels by the thousand: export, the dataset they make, and its review."""
