"""What is used of timm and open_clip, imported without a warning that is no user's business.

timm before 1.0.23, at which nnunetv2 holds it, names at its import what torch 2.14 has deprecated.
"""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "`torch.jit.interface` is deprecated", FutureWarning)
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
    from open_clip.model import CustomTextCLIP
    from timm.models import register_model
    from timm.models.vision_transformer import Attention, Block, VisionTransformer

__all__ = [
    "OPENAI_DATASET_MEAN",
    "OPENAI_DATASET_STD",
    "Attention",
    "Block",
    "CustomTextCLIP",
    "VisionTransformer",
    "register_model",
]
