"""Scores of masks, tables and pictures of them, and the comparison with the published figures."""
