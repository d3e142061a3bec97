"""A volume segmented in one call, as tests ask for it."""

from __future__ import annotations

from MedCLIPSAMLib.pipeline.request import SegmentationRequest
from MedCLIPSAMLib.pipeline.segment_volume import segment_volume
from MedCLIPSAMLib.run_context import RunContext


def run_volume(segmenter, volume, prompts, slices=None, context=RunContext(), **more):
    """The `VolumeResult` of some prompts."""
    request = SegmentationRequest(tuple(prompts), slices=slices, **more)
    return segment_volume(segmenter, volume, request, context).collect()
