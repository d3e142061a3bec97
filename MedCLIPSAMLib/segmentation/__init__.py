"""From a text prompt to a mask of one image: saliency, coarse mask, prompts of SAM 2, mask."""
