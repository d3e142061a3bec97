"""Training of the demo SAM 2 on phantoms: boxes (tight, loose, empty), clicks, coarse masks, and correction clicks.

Every picture is prompted for several of the structures that it shows, and for none, so that the answer depends on the prompt
and not on the picture alone. The training follows SAM (Kirillov et al. 2023, section 3): a first prompt, then a click where the first mask is wrong.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from scipy import ndimage

from ..models.sam import build_sam
from ..volumes.atomic import atomic_path
from .dataset import make_many
from .phantom import SIZE, Phantom
from .train_clip import augment

IMAGE_SIZE = 192
"""Edge of the picture that the demo SAM 2 sees; its mask logits have a quarter of it."""

CONFIG = """# @package _global_

model:
  _target_: sam2.modeling.sam2_base.SAM2Base
  image_encoder:
    _target_: sam2.modeling.backbones.image_encoder.ImageEncoder
    scalp: 1
    trunk:
      _target_: sam2.modeling.backbones.hieradet.Hiera
      embed_dim: 32
      num_heads: 1
      stages: [1, 2, 3, 1]
      global_att_blocks: [4, 5]
      window_spec: [8, 4, 12, 6]
      window_pos_embed_bkg_spatial_size: [7, 7]
    neck:
      _target_: sam2.modeling.backbones.image_encoder.FpnNeck
      position_encoding: {_target_: sam2.modeling.position_encoding.PositionEmbeddingSine, num_pos_feats: 64, normalize: true, scale: null, temperature: 10000}
      d_model: 64
      backbone_channel_list: [256, 128, 64, 32]
      fpn_top_down_levels: [2, 3]
      fpn_interp_model: nearest
  memory_attention:
    _target_: sam2.modeling.memory_attention.MemoryAttention
    d_model: 64
    pos_enc_at_input: true
    layer:
      _target_: sam2.modeling.memory_attention.MemoryAttentionLayer
      activation: relu
      dim_feedforward: 256
      dropout: 0.0
      pos_enc_at_attn: false
      self_attention: {_target_: sam2.modeling.sam.transformer.RoPEAttention, rope_theta: 10000.0, feat_sizes: [12, 12], embedding_dim: 64, num_heads: 1, downsample_rate: 1, dropout: 0.0}
      d_model: 64
      pos_enc_at_cross_attn_keys: true
      pos_enc_at_cross_attn_queries: false
      cross_attention: {_target_: sam2.modeling.sam.transformer.RoPEAttention, rope_theta: 10000.0, feat_sizes: [12, 12], rope_k_repeat: true, embedding_dim: 64, num_heads: 1, downsample_rate: 1, dropout: 0.0, kv_in_dim: 32}
    num_layers: 2
  memory_encoder:
    _target_: sam2.modeling.memory_encoder.MemoryEncoder
    in_dim: 64
    out_dim: 32
    position_encoding: {_target_: sam2.modeling.position_encoding.PositionEmbeddingSine, num_pos_feats: 32, normalize: true, scale: null, temperature: 10000}
    mask_downsampler: {_target_: sam2.modeling.memory_encoder.MaskDownSampler, embed_dim: 64, kernel_size: 3, stride: 2, padding: 1}
    fuser:
      _target_: sam2.modeling.memory_encoder.Fuser
      layer: {_target_: sam2.modeling.memory_encoder.CXBlock, dim: 64, kernel_size: 7, padding: 3, layer_scale_init_value: 0.01, use_dwconv: true}
      num_layers: 2
  num_maskmem: 7
  image_size: 192
  sigmoid_scale_for_mem_enc: 20.0
  sigmoid_bias_for_mem_enc: -10.0
  use_mask_input_as_output_without_sam: true
  directly_add_no_mem_embed: true
  no_obj_embed_spatial: true
  use_high_res_features_in_sam: true
  multimask_output_in_sam: true
  iou_prediction_use_sigmoid: true
  use_obj_ptrs_in_encoder: true
  add_tpos_enc_to_obj_ptrs: true
  proj_tpos_enc_in_obj_ptrs: true
  use_signed_tpos_enc_to_obj_ptrs: true
  only_obj_ptrs_in_the_past_for_eval: true
  pred_obj_scores: true
  pred_obj_scores_mlp: true
  fixed_no_obj_ptr: true
  multimask_output_for_tracking: true
  use_multimask_token_for_obj_ptr: true
  multimask_min_pt_num: 0
  multimask_max_pt_num: 1
  use_mlp_for_obj_ptr_proj: true
  compile_image_encoder: false
"""


@dataclass(frozen=True)
class SamTraining:
    """Settings of the demo SAM 2's training; the defaults made the shipped weights."""

    phantoms: int = 6000
    steps: int = 2200
    batch: int = 10
    prompts: int = 6
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warm_up: int = 50
    seed: int = 12


@dataclass(frozen=True)
class Prompt:
    """One prompt of a training picture: its truth (SIZE, SIZE) bool and either a box or points, in pixels of SIZE."""

    truth: np.ndarray
    coords: np.ndarray
    labels: np.ndarray


def _structures(phantom: Phantom) -> list[np.ndarray]:
    masks = [lesion.mask for lesion in phantom.lesions] + list(phantom.organs.values())
    if phantom.modality in ("XR", "CT") and len(phantom.organs):
        masks.append(phantom.lungs_mask)
    return [mask for mask in masks if mask.sum() >= 12]


def _jitter(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """The box of `mask`, its corners moved as a coarse mask would move them: from tight to very loose."""
    rows, columns = np.nonzero(mask)
    x0, x1, y0, y1 = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    width, height = x1 - x0, y1 - y0
    if rng.random() < 0.5:
        moved = np.array([x0, y0, x1, y1]) + rng.normal(0, 0.08, 4) * np.array([width, height, width, height]) + rng.normal(0, 1.0, 4)
    else:
        grow = rng.uniform(0.0, 0.7, 4) * np.array([width, height, width, height]) + rng.uniform(0, 8, 4)
        moved = np.array([x0, y0, x1, y1]) + grow * np.array([-1, -1, 1, 1])
    return np.clip(moved, 0, SIZE)


def draw_prompt(rng: np.random.Generator, phantom: Phantom) -> Prompt:
    """A random prompt for a random structure of `phantom`, lesions first; one in six asks for nothing that is there."""
    structures = _structures(phantom)
    lesions = [lesion.mask for lesion in phantom.lesions]
    if not structures or rng.random() < 1 / 6:
        while True:
            width, height = rng.uniform(8, 36, 2)
            x0, y0 = rng.uniform(0, SIZE - width), rng.uniform(0, SIZE - height)
            inside = np.zeros((SIZE, SIZE), bool)
            inside[int(y0) : int(y0 + height), int(x0) : int(x0 + width)] = True
            covered = [mask for mask in structures if (mask & inside).sum() > 0.35 * mask.sum() or (mask & inside).sum() > 0.3 * inside.sum()]
            if not covered:
                box = np.array([[x0, y0], [x0 + width, y0 + height]])
                return Prompt(np.zeros((SIZE, SIZE), bool), box, np.array([2, 3]))
    pool = lesions if lesions and rng.random() < 0.6 else structures
    truth = pool[rng.integers(len(pool))]
    if rng.random() < 0.7:
        x0, y0, x1, y1 = _jitter(rng, truth)
        return Prompt(truth, np.array([[x0, y0], [x1, y1]]), np.array([2, 3]))
    rows, columns = np.nonzero(truth)
    chosen = rng.integers(len(rows), size=rng.integers(1, 5))
    points = np.stack([columns[chosen], rows[chosen]], 1) + 0.5
    labels = np.ones(len(points), int)
    outside = np.argwhere(~truth & (ndimage.distance_transform_edt(~truth) < 14))
    if len(outside) and rng.random() < 0.4:
        extra = outside[rng.integers(len(outside), size=2)]
        points, labels = np.concatenate([points, extra[:, ::-1] + 0.5]), np.concatenate([labels, [0, 0]])
    return Prompt(truth, points, labels)


def pack(prompts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad (coords (P, 2) in pixels of SIZE, labels (P,)) to (N, P, 2) float32 in pixels of IMAGE_SIZE and (N, P) int32 (-1 pads)."""
    longest = max(len(labels) for _, labels in prompts)
    coords, labels = torch.zeros(len(prompts), longest, 2), -torch.ones(len(prompts), longest, dtype=torch.int32)
    for index, (points, kinds) in enumerate(prompts):
        coords[index, : len(kinds)] = torch.from_numpy(points * (IMAGE_SIZE / SIZE)).float()
        labels[index, : len(kinds)] = torch.from_numpy(kinds).int()
    return coords, labels


def image_features(sam: torch.nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The embedding (B, C, h, w) and the two high-resolution maps that the mask decoder uses, as SAM2ImagePredictor makes them."""
    output = sam.forward_image(images)
    _, features, _, sizes = sam._prepare_backbone_features(output)
    maps = [feature.permute(1, 2, 0).reshape(len(images), -1, *size) for feature, size in zip(features, sizes)]
    return maps[-1] + sam.no_mem_embed.reshape(1, -1, 1, 1), maps[:-1]


def decode(sam, embedding, high_resolution, points, masks=None, multimask=False):
    """Mask logits (N, M, h, w), predicted IoU (N, M) and object score logits (N, 1) of N prompts, one a row of `embedding`."""
    sparse, dense = sam.sam_prompt_encoder(points=points, boxes=None, masks=masks)
    logits, ious, _, score = sam.sam_mask_decoder(
        image_embeddings=embedding, image_pe=sam.sam_prompt_encoder.get_dense_pe(), sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense, multimask_output=multimask, repeat_image=False, high_res_features=high_resolution)
    return logits.float(), ious.float(), score.float()


def mask_loss(logits: torch.Tensor, ious: torch.Tensor, score: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and Dice of the best of M masks, L1 of the predicted IoU, cross-entropy of the object score.

    Args:
        logits: (N, M, h, w); ious: (N, M); score: (N, 1); truth: (N, 1, h, w) float, the share of foreground in each pixel.
    """
    target = truth.expand_as(logits)
    share = truth.mean((1, 2, 3), keepdim=True).clamp(min=1e-6)
    weight = 1 + target * (0.25 / share).clamp(1, 20)
    entropy = (weight * F.binary_cross_entropy_with_logits(logits, target, reduction="none")).mean((2, 3))
    probability = logits.sigmoid()
    overlap = (probability * target).sum((2, 3))
    dice = 1 - (2 * overlap + 1) / (probability.sum((2, 3)) + target.sum((2, 3)) + 1)
    there = truth.sum((1, 2, 3)) > 0
    dice = dice * there[:, None]
    cost = 3 * entropy + dice
    best = cost.argmin(1, keepdim=True)
    with torch.no_grad():
        hard, solid = logits > 0, target > 0.5
        union = (hard | solid).sum((2, 3))
        quality = torch.where(union > 0, (hard & solid).sum((2, 3)) / union.clamp(min=1), torch.ones_like(ious))
    appears = F.binary_cross_entropy_with_logits(score[:, 0], there.float())
    return cost.gather(1, best).mean() + 0.3 * (ious - quality).abs().mean() + 0.1 * appears


def _correction(rng: np.random.Generator, logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, int] | None:
    """A click in the middle of the largest wrong region: (x, y) in pixels of SIZE and 1 where foreground is missing, else 0."""
    predicted = ndimage.zoom(logits, SIZE / logits.shape[0], order=1) > 0
    wrong = predicted != truth
    depth = ndimage.distance_transform_edt(np.pad(wrong, 1))[1:-1, 1:-1]
    if depth.max() < 1.5:
        return None
    rows, columns = np.nonzero(depth > 0.7 * depth.max())
    index = rng.integers(len(rows))
    return np.array([[columns[index] + 0.5, rows[index] + 0.5]]), int(truth[rows[index], columns[index]])


def train_sam(folder: Path, settings: SamTraining = SamTraining(), report: Callable[[str], None] = print) -> None:
    """Train the demo SAM 2's image path from random weights and write its folder (sam2_demo.yaml, model.safetensors).

    Args:
        folder: where the model is written; its weights are replaced at the end only.
        report: receives a line of progress every 20 steps.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "sam2_demo.yaml").write_text(CONFIG, encoding="utf-8")
    torch.manual_seed(settings.seed)
    sam = build_sam(folder / "sam2_demo.yaml").train().requires_grad_(True)
    rng, generator = np.random.default_rng(settings.seed), torch.Generator().manual_seed(settings.seed)
    started = time.time()
    phantoms = make_many("train", settings.phantoms)
    report(f"{settings.phantoms} phantoms made in {time.time() - started:.0f} s")
    parameters = [parameter for parameter in sam.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / settings.warm_up,
                                                 0.5 + 0.5 * math.cos(math.pi * step / settings.steps)))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1), torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for step in range(settings.steps):
        chosen = [phantoms[index] for index in rng.choice(len(phantoms), settings.batch, replace=False)]
        images = augment(torch.from_numpy(np.stack([phantom.picture for phantom in chosen])), generator)
        images = F.interpolate(images, size=IMAGE_SIZE, mode="bilinear", antialias=True, align_corners=False)
        prompts = [draw_prompt(rng, phantom) for phantom in chosen for _ in range(settings.prompts)]
        single = step % 5 == 4
        if single:
            prompts = [_one_click(rng, prompt) for prompt in prompts]
        truth = torch.from_numpy(np.stack([prompt.truth for prompt in prompts]))[:, None].float()
        truth = F.adaptive_avg_pool2d(truth, IMAGE_SIZE // 4)
        with torch.autocast("cpu", torch.bfloat16):
            embedding, high = image_features(sam, (images - mean) / deviation)
        repeat = lambda tensor: tensor.float().repeat_interleave(settings.prompts, 0)
        embedding, high = repeat(embedding), [repeat(level) for level in high]
        logits, ious, score = decode(sam, embedding, high, pack([(p.coords, p.labels) for p in prompts]), multimask=single)
        loss = mask_loss(logits, ious, score, truth)
        if step % 2:
            loss = loss + _corrected(rng, sam, embedding, high, prompts, logits, ious, truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 19 or step + 1 == settings.steps:
            hard, solid = logits[:, :1] > 0, truth > 0.5
            there = solid.flatten(1).any(1)
            dice = (2 * (hard & solid).flatten(1).sum(1) / (hard.flatten(1).sum(1) + solid.flatten(1).sum(1)).clamp(min=1))[there].mean()
            report(f"sam step {step + 1}/{settings.steps} loss {loss.item():.3f} batch DSC {dice.item():.3f} {time.time() - started:.0f} s")
    weights = {name: tensor.detach().half().contiguous() if tensor.is_floating_point() else tensor for name, tensor in sam.state_dict().items()}
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file(weights, str(temporary), metadata={"training": json.dumps(asdict(settings))})


def _corrected(rng, sam, embedding, high, prompts, logits, ious, truth) -> torch.Tensor:
    """The loss after a correction click on the best masks so far, which are given back as mask prompts every other time."""
    best = logits[torch.arange(len(prompts)), ious.argmax(1)].detach()
    second = []
    for prompt, guess in zip(prompts, best.numpy()):
        click = _correction(rng, guess, prompt.truth)
        if click is None:
            second.append((prompt.coords, prompt.labels))
        else:
            second.append((np.concatenate([prompt.coords, click[0]]), np.append(prompt.labels, click[1])))
    previous = best[:, None].clamp(-32, 32) if rng.random() < 0.5 else None
    return mask_loss(*decode(sam, embedding, high, pack(second), masks=previous), truth)


def _one_click(rng: np.random.Generator, prompt: Prompt) -> Prompt:
    """The same request as a single click in the structure; a request for nothing stays the box that it was."""
    rows, columns = np.nonzero(prompt.truth)
    if not len(rows):
        return prompt
    index = rng.integers(len(rows))
    return Prompt(prompt.truth, np.array([[columns[index] + 0.5, rows[index] + 0.5]]), np.array([1]))
