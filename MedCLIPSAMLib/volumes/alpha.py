"""The alpha channel of images, which is left out; of a mask it may be the mask itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MedCLIPSAMLib.errors import InputError

ALPHA_NOTE = "The alpha channel was left out."


def check_mask_alpha(pixels: np.ndarray, path: Path) -> None:
    """Refuse a mask whose gray or colors are the same everywhere and whose last channel is not.

    Args:
        pixels: (J, I, channels), alpha last.

    Raises:
        InputError: it may be the mask, and leaving it out would make one of the whole image, or an empty one.
    """
    colors, alpha = pixels[..., :-1], pixels[..., -1]
    if (colors == colors[:1, :1]).all() and alpha.min() < alpha.max():
        raise InputError(
            f"Expected a mask in the gray or the colors of '{path}', got the same everywhere, but not in its alpha "
            "channel.",
            'If that is the mask, save it as gray, for example: python -c "from PIL import Image; '
            f"Image.open('{path.name}').getchannel('A').save('mask.png')\"",
        )
