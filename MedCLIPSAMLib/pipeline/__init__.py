"""Segmentation of a volume by text prompts: the request, `segment_volume`, and its results."""
