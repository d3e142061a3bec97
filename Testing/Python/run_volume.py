"""A volume segmented in one call, as tests ask for it."""

from __future__ import annotations

from MedCLIPSAMLib.run_context import RunContext
from MedCLIPSAMLib.zeroshot.pipeline import segment_volume
from MedCLIPSAMLib.zeroshot.request import SegmentationRequest


def run_volume(segmenter, volume, prompts, slices=None, context=RunContext(), **more):
    """The `VolumeResult` of some prompts."""
    request = SegmentationRequest(tuple(prompts), slices=slices, **more)
    return segment_volume(segmenter, volume, request, context).collect()
