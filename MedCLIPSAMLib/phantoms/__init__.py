"""Synthetic images of four modalities with captions and truth; the demo models are trained and measured on them."""
