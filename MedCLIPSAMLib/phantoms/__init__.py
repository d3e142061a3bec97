"""Synthetic images of four modalities with captions and truth masks, to train and measure the demo models."""
