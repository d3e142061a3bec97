"""MedCLIPSAM engine: text-prompted segmentation of medical images (BiomedCLIP, M2IB saliency, SAM 2).

The names in `__all__` are the public API, also available as `medclipsam`; everything else may change without notice.
Each name is imported on first access, so `import MedCLIPSAMLib` is fast and does not need torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checkpoints import CheckpointFolder as CheckpointFolder
    from .choices import Plane as Plane
    from .choices import Strategy as Strategy
    from .errors import Cancelled as Cancelled
    from .errors import DeviceError as DeviceError
    from .errors import InputError as InputError
    from .errors import MedCLIPSAMError as MedCLIPSAMError
    from .errors import ModelError as ModelError
    from .errors import OutputError as OutputError
    from .errors import PromptError as PromptError
    from .models.own_towers import register_image_towers as register_image_towers
    from .pipeline.request import SegmentationRequest as SegmentationRequest
    from .pipeline.segment_volume import segment_volume as segment_volume
    from .pipeline.volume_result import VolumeResult as VolumeResult
    from .pipeline.volume_result import VolumeRun as VolumeRun
    from .run_context import Progress as Progress
    from .run_context import RunContext as RunContext
    from .segmentation.affinity import AffinitySettings as AffinitySettings
    from .segmentation.result import PromptedResult as PromptedResult
    from .segmentation.result import PropagatedResult as PropagatedResult
    from .segmentation.result import Result as Result
    from .segmentation.result import SliceResult as SliceResult
    from .segmentation.saliency import M2IBSettings as M2IBSettings
    from .segmentation.sam_prompts import SamPrompts as SamPrompts
    from .segmentation.segmenter import TextSegmenter as TextSegmenter
    from .segmentation.segmenter import load_segmenter as load_segmenter
    from .segmentation.settings import Settings as Settings
    from .segmentation.settings import default_settings as default_settings
    from .segmentation.vote import VoteSettings as VoteSettings
    from .volumes import Segment as Segment
    from .volumes import SliceStack as SliceStack
    from .volumes import Volume as Volume
    from .volumes import read_segmentation as read_segmentation
    from .volumes import read_volume as read_volume
    from .volumes import write_segmentation as write_segmentation
    from .worker.client import WorkerClient as WorkerClient
    from .worker.request import WorkerError as WorkerError
    from .worker.subprocess_transport import SubprocessTransport as SubprocessTransport
    from .worker.subprocess_transport import worker_command as worker_command

__version__ = "0.1.0"

_MODULES = {
    ".checkpoints": "CheckpointFolder",
    ".choices": "Plane Strategy",
    ".errors": "Cancelled DeviceError InputError MedCLIPSAMError ModelError OutputError PromptError",
    ".models.own_towers": "register_image_towers",
    ".pipeline.request": "SegmentationRequest",
    ".pipeline.segment_volume": "segment_volume",
    ".pipeline.volume_result": "VolumeResult VolumeRun",
    ".run_context": "Progress RunContext",
    ".segmentation.affinity": "AffinitySettings",
    ".segmentation.result": "PromptedResult PropagatedResult Result SliceResult",
    ".segmentation.saliency": "M2IBSettings",
    ".segmentation.sam_prompts": "SamPrompts",
    ".segmentation.segmenter": "TextSegmenter load_segmenter",
    ".segmentation.settings": "Settings default_settings",
    ".segmentation.vote": "VoteSettings",
    ".volumes": "Segment SliceStack Volume read_segmentation read_volume write_segmentation",
    ".worker.client": "WorkerClient",
    ".worker.request": "WorkerError",
    ".worker.subprocess_transport": "SubprocessTransport worker_command",
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names.split()}
__all__ = ["__version__", *sorted(_MODULE_OF)]


def __getattr__(name: str) -> Any:
    """Import a public name on first access."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List all public names, including those not imported yet."""
    return sorted({*globals(), *__all__})
