"""SAM 2 from the package `sam2`, built from a configuration in the model's folder or in that package."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sam2.sam2_video_predictor import SAM2VideoPredictor

from ..counted import list_names
from ..errors import ModelError
from .acceleration.bfloat16 import in_bfloat16
from .acceleration.captures import Captures
from .acceleration.linear import with_fast_linear
from .acceleration.memory import is_out_of_memory
from .device import OnCpu, scale, to_device
from .sam_config import read_sam_config
from .sam_parts import Hiera, Linear, MemoryAttention, PositionEmbeddingSine, PromptEncoder, use_own
from .store import WEIGHT_SUFFIXES, find, find_model_folder
from .trained import check_sam_size
from .weights import load_strictly, read_weights

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Mean and std of the three channels of SAM 2's input, for values from 0 to 1."""
MAX_RECORDED_PIXELS, MAX_RECORDED_PROMPTS = 1024**2, 4
"""Largest batch for which a recording is used; larger ones keep a GPU busy anyway, and would need twice the memory."""


class Sam2(SAM2VideoPredictor):
    """SAM 2 for images and for stacks of images.

    Attributes:
        name: name in the catalogue, set when the model is loaded.
        bfloat16: whether the image encoder and the memory attention multiply matrices in bfloat16. Their outputs, and
            everything else, are float32.
    """

    name: str
    bfloat16 = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._captures: weakref.ref[Captures] | None = None
        for name, values in (("_mean", MEAN), ("_std", STD)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(3, 1, 1), persistent=False)
        encoder = self.image_encoder
        use_own(encoder.trunk, Hiera)
        use_own(encoder.neck.position_encoding, PositionEmbeddingSine)
        use_own(self.memory_attention, MemoryAttention)
        use_own(self.sam_prompt_encoder, PromptEncoder)
        if not isinstance(self.obj_ptr_tpos_proj, torch.nn.Identity):
            use_own(self.obj_ptr_tpos_proj, Linear)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the recordings, which replay this instance and not a copy of it."""
        return {**self.__dict__, "_captures": None}

    @property
    def captures(self) -> Captures | None:
        """The recordings that replay the image encoder and the decoder; None computes without recordings.

        Their owner is another object. They refer to this model, so the model holds only a weak reference to them.
        """
        return self._captures() if self._captures else None

    @captures.setter
    def captures(self, captures: Captures | None) -> None:
        self._captures = None if captures is None else weakref.ref(captures)

    def preprocess(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Convert images, uint8 (N, H, W, 3), to the model's input, float32 (N, 3, S, S) on its device.

        Apart from rounding, the result is that of sam2, which uses torchvision on the CPU, image by image.
        """
        pixels = scale(to_device(self.device, images)).contiguous()
        size = self.image_size, self.image_size
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
        return (pixels - self._mean) / self._std

    def forward_image(self, img_batch: torch.Tensor) -> dict[str, Any]:
        """Encode images (N, 3, S, S); overrides sam2's method."""
        captures = None if torch.is_grad_enabled() else self.captures
        if captures and len(img_batch) * self.image_size**2 <= MAX_RECORDED_PIXELS:
            levels = captures.run(("image encoder", self.bfloat16), self._encode, img_batch)
        else:
            levels = self._encode(img_batch)
        return {
            "vision_features": levels[-1],
            "backbone_fpn": list(levels),
            "vision_pos_enc": [self.image_encoder.neck.position_encoding(level) for level in levels],
        }

    def _encode(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Encode images (N, 3, S, S) to the levels of the feature pyramid, from fine to coarse."""
        with in_bfloat16(images.device, self.bfloat16):
            return tuple(level.float() for level in super().forward_image(images)["backbone_fpn"])

    def _prepare_memory_conditioned_features(self, *args: Any, **options: Any) -> torch.Tensor:
        """Condition a slice's features, (1, C, h, w), on the memory of previous slices; overrides sam2's method."""
        with in_bfloat16(self.device, self.bfloat16):
            return super()._prepare_memory_conditioned_features(*args, **options).float()


_PREDICTOR = f"{Sam2.__module__}.{Sam2.__name__}"


def build_sam(config: Path, options: Mapping[str, Any] | None = None) -> Sam2:
    """Build a model with random weights from a sam2 configuration file, on the CPU and in evaluation mode.

    The file is read directly, not through hydra's global search path, which other code in the process may use.
    Some parts of sam2 create tensors on a GPU whenever torch finds one; here they are created on the CPU. Errors of
    torch when memory runs out are not caught.

    Args:
        config: the configuration file.
        options: settings merged into the configuration's part `model`.

    Raises:
        ModelError: the configuration is refused, see `read_sam_config`, or its settings do not fit together.
    """
    try:
        model: Any = OmegaConf.merge(read_sam_config(config), dict(options or {}))
        model["_target_"] = _PREDICTOR
        with OnCpu(), torch.device("cpu"):
            sam = instantiate(model, _recursive_=True).float().eval()  # .float() undoes the program's default dtype
        check_sam_size(sam.image_size)
        return sam
    except (
        KeyError,
        AttributeError,
        RuntimeError,
        ArithmeticError,
        TypeError,
        ValueError,
        AssertionError,
        OmegaConfBaseException,
        HydraException,
    ) as error:
        cause = error.__cause__ or error  # hydra wraps errors
        if is_out_of_memory(cause):
            raise cause from None
        raise ModelError(f"No SAM 2 can be built from '{config}': {error}.", "Get the configuration again.") from error


@torch.inference_mode(False)  # weights made in inference mode have no version counter, which caches are checked by
def load_sam(name: str, device: torch.device | str = "cpu", models_dir: Path | None = None) -> Sam2:
    """Load a SAM 2 model of the catalogue, frozen, in float32 and in evaluation mode.

    Args:
        name: name in the catalogue, or of one of the user's own models.
        device: the device to load it on.
        models_dir: a folder of models that is searched first.

    Raises:
        ModelError: the model is unknown, missing or damaged; there are several files of weights or configurations and
            none is the catalogue's; or the weights do not fit the configuration. The message names a few of these.
    """
    entry = find(name, "sam", models_dir)
    folder = find_model_folder(entry, models_dir)
    known = [folder / file.name for file in entry.files if (folder / file.name).is_file()]
    config = _find_one(folder, (".yaml",), known)
    if not config and not entry.config:
        raise ModelError(f"'{folder}' holds no configuration (.yaml).", "Put it beside the weights.")
    path = _find_one(folder, WEIGHT_SUFFIXES, known)
    assert path  # `find_model_folder` has found it
    sam = build_sam(config or Path(str(files("sam2").joinpath(entry.config))), entry.options)
    load_strictly(sam, read_weights(path), path)
    sam.name = name
    return with_fast_linear(sam).to(device, torch.float32).requires_grad_(False)


def _find_one(folder: Path, suffixes: Sequence[str], known: Sequence[Path]) -> Path | None:
    """Find the file with one of some suffixes in a model's folder: the catalogue's, or else the only such file."""
    groups = [[path for path in known if path.name.endswith(tuple(suffixes))]]
    groups += [sorted(folder.glob(f"[!.]*{suffix}")) for suffix in suffixes]  # without macOS's ._NAME files
    found = next(filter(None, groups), [])
    if len(found) > 1:
        raise ModelError(
            f"Expected one {found[0].suffix} file in '{folder}', got {list_names(path.name for path in found)}.",
            "Keep only the file to use; parts of one model must be merged.",
        )
    return found[0] if found else None


def decode(
    sam: Sam2,
    embedding: torch.Tensor,
    fine: Sequence[torch.Tensor],
    points: tuple[torch.Tensor, torch.Tensor],
    masks: torch.Tensor | None = None,
    multimask: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decode N prompts, one per embedding.

    Args:
        sam: the model.
        embedding: (N, C, h / 4, w / 4); h and w are a quarter of the image size.
        fine: the features at sizes h x w and h / 2 x w / 2.
        points: coordinates, (N, P, 2), x and y in pixels of the image size; and labels, (N, P), 1 inside, 0 outside, 2
            and 3 the corners of a box.
        masks: (N, 1, h, w) logits to start from.
        multimask: whether to predict several masks for each prompt.

    Returns:
        Mask logits (N, M, h, w), predicted IoU (N, M) and object score logits (N, 1).
    """
    inputs = (embedding, *points, *(() if masks is None else (masks,)), *fine)
    predict = partial(_decode, sam, masks is not None, multimask)
    captures = None if torch.is_grad_enabled() else sam.captures
    if captures and len(embedding) <= MAX_RECORDED_PROMPTS:
        logits, quality, score = captures.run(("decoder", masks is not None, multimask), predict, *inputs)
        return logits, quality, score
    return predict(*inputs)


def _decode(
    sam: Sam2,
    masked: bool,
    multimask: bool,
    embedding: torch.Tensor,
    places: torch.Tensor,
    labels: torch.Tensor,
    *rest: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decode as `decode` does; `rest` holds the masks to start from, if `masked`, and then the finer features."""
    masks, fine = (rest[0], rest[1:]) if masked else (None, rest)
    sparse, dense = sam.sam_prompt_encoder(points=(places, labels), boxes=None, masks=masks)
    logits, quality, _, score = sam.sam_mask_decoder(
        image_embeddings=embedding,
        image_pe=sam.sam_prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        repeat_image=False,
        high_res_features=fine,
    )
    return logits, quality, score


def embed(sam: Sam2, pixels: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Encode images (N, 3, S, S) for `decode`: return the embedding (N, C, h, w) and the finer features."""
    _, features, _, sizes = sam._prepare_backbone_features(sam.forward_image(pixels))
    if sam.directly_add_no_mem_embed:
        features[-1] = features[-1] + sam.no_mem_embed
    *fine, embedding = (made.permute(1, 2, 0).view(len(pixels), -1, *size) for made, size in zip(features, sizes))
    return embedding, fine
