"""MedCLIPSAM engine: text-prompted segmentation of medical images (BiomedCLIP, M2IB saliency, SAM 2)."""

__version__ = "0.1.0"
