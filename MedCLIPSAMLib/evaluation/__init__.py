"""Scores of masks, their tables and images, and the comparison with published figures."""
