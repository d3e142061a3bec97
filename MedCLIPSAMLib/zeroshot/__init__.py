"""From a text prompt to a mask: saliency, coarse mask, SAM 2's prompts, and the way through a volume."""
