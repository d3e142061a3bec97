"""Scores of masks, tables and images of them, and the comparison with the published figures."""
