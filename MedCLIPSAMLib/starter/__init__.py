"""Training of the starter models, a small CLIP and a small SAM 2, on real public images and phantoms."""
