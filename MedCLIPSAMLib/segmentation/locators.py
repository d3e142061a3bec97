"""Alternatives to M2IB that map texts in images, with a common interface of one method.

The catalogue entry of a model names its locator (`catalogue_entry.Model.map_by`). Presence, coarse mask, SAM 2 and the
other steps stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from ..counted import list_names
from ..errors import ModelError
from ..models.clip_config import read_channels, read_config, read_integer
from ..models.store import find, find_model_folder
from ..models.weights import is_finite
from .vision_tower import VisionTower

if TYPE_CHECKING:
    from ..models.clip import ClipModel

M2IB = "m2ib"
FILES = (("config.json",), ("model.safetensors",), ("tokenizer.json", "vocab.json"))
"""Required files of CLIPSeg; without them transformers would look for a model of that name on Hugging Face."""
ADAPTER = "adapter_config.json"
"""A file that makes transformers load weights from another folder."""
SIDE, MEAN, STD = 352, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Edge in pixels of the images that CLIPSeg was trained with, and the mean and std of their channels."""


class Locator(Protocol):
    """Anything that maps where in an image the target of a text is."""

    def maps(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """Make a map of each of N images, uint8 (H, W, 3) of one size, for each of P prompts: (N, P, h, w) float32.

        h and w depend on the locator. A map covers the whole image; its values may have any range, as they are rescaled
        to 0 to 1.
        """


class CosineMap:
    """Locator by the cosine similarity of the text with each patch token after the model's own projection.

    It uses the tokens of the last block, as CLIP's zero-shot classification does with the class token. It has no
    optimization, and so no settings.
    """

    def __init__(self, clip: ClipModel, folder: Path) -> None:
        self._clip = clip
        self._tower = VisionTower(clip.model.visual)

    @torch.no_grad()
    def maps(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """See `Locator.maps`."""
        tower, clip = self._tower, self._clip
        tokens = tower.tokens_at(clip.preprocess(np.stack(images)), tower.depth - 1)
        patches = tower.head(tower.trunk.norm_patches(tokens[:, tower.prefix :]))
        similar = F.normalize(patches.float(), dim=-1) @ clip.encode_text(list(prompts)).T
        return similar.transpose(1, 2).unflatten(2, tower.grid).cpu().numpy()


class ClipSeg:
    """CLIPSeg (Lueddecke and Ecker, CVPR 2022) by transformers, from the folder `clipseg` in the model's folder.

    Its files are config.json, model.safetensors, preprocessor_config.json (optional) and those of the tokenizer.
    Nothing is downloaded, and no code in the folder is run.

    Raises:
        ModelError: the folder does not exist, files do not match, weights are missing, or the configuration refers to
            code or to another location.
    """

    def __init__(self, clip: ClipModel, folder: Path) -> None:
        from transformers import CLIPSegForImageSegmentation, CLIPTokenizer

        own = folder / "clipseg"
        try:
            local = {"local_files_only": True}
            if lacking := [names for names in FILES if not any((own / name).is_file() for name in names)]:
                raise ValueError(f"it lacks {', '.join(' or '.join(names) for names in lacking)}")
            read_config(own / "config.json")
            self._side, mean, std = _read_preprocessing(own / "preprocessor_config.json")
            if (own / ADAPTER).exists():
                raise ValueError(f"{ADAPTER} would take weights from another place")
            self._model, loading = CLIPSegForImageSegmentation.from_pretrained(
                own, use_safetensors=True, output_loading_info=True, **local
            )
            if absent := loading["missing_keys"]:
                raise ValueError(f"the weights lack {list_names(sorted(absent))}")
            if broken := [name for name, tensor in self._model.state_dict().items() if not is_finite(tensor)]:
                raise ValueError(f"weights are NaN or infinite: {list_names(broken)}")
            self._tokenizer = CLIPTokenizer.from_pretrained(own, **local)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            reason = str(error).strip().partition("\n")[0].rstrip(".")
            raise ModelError(f"CLIPSeg cannot be loaded from '{own}': {reason}.", "Put its files there.") from error
        self._device = clip.device
        normalization = torch.tensor([mean, std], dtype=torch.float32, device=clip.device)
        self._mean, self._std = normalization.view(2, 3, 1, 1)
        self._model = self._model.to(self._device).eval().requires_grad_(False)

    @torch.no_grad()
    def maps(self, images: Sequence[np.ndarray], prompts: Sequence[str]) -> np.ndarray:
        """See `Locator.maps`."""
        pixels = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2).float() / 255
        pixels = F.interpolate(pixels, (self._side, self._side), mode="bilinear", antialias=True, align_corners=False)
        texts = self._tokenizer(list(prompts), padding=True, truncation=True, return_tensors="pt").to(self._device)
        found = []
        for image in (pixels - self._mean) / self._std:
            several = image.expand(len(prompts), -1, -1, -1)
            logits = self._model(pixel_values=several, **texts).logits
            found.append(logits.reshape(len(prompts), *logits.shape[-2:]).sigmoid())
        return torch.stack(found).cpu().numpy()


def _read_preprocessing(path: Path) -> tuple[int, Sequence[float], Sequence[float]]:
    """Read CLIPSeg's image size in pixels, and the mean and std of its channels; the authors' values without the file.

    `image_size` in config.json is not used: it is that of the underlying CLIP, whose position embeddings are
    interpolated.
    """
    config = read_config(path) if path.is_file() else {}
    size = config.get("size", SIDE)
    side = read_integer("size", size.get("height") if isinstance(size, dict) else size)
    mean = read_channels("image_mean", config.get("image_mean", MEAN))
    return side, mean, read_channels("image_std", config.get("image_std", STD), positive=True)


LOCATORS: dict[str, Callable[[ClipModel, Path], Locator]] = {"cosine": CosineMap, "clipseg": ClipSeg}


def find_locator(model: str, models_dir: Path | None = None) -> Callable[[ClipModel], Locator] | None:
    """Find the factory of a model's locator; None if M2IB makes its maps.

    Args:
        model: name of a text-image model in the catalogue.

    Raises:
        ModelError: the model does not exist, or files of it are missing.
    """
    entry = find(model, "clip", models_dir)
    if entry.map_by == M2IB:
        return None
    folder = find_model_folder(entry, models_dir)
    return lambda clip: LOCATORS[entry.map_by](clip, folder)
