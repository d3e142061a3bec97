"""Set up Lightning Fabric for a fine-tuning: device, precision, processes and TensorBoard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

from ..choices import TrainingPrecision
from ..errors import require_extra
from ..models.device import fast_bfloat16, resolve_device, warn_of_slow_bfloat16
from .settings import FineTuneSettings


def launch_fabric(settings: FineTuneSettings, device: str, out: Path) -> Any:
    """Launch Fabric on a device or, under torchrun, on the device of this process.

    Args:
        settings: settings of the training, of which the precision is used.
        device: see `models.device.resolve_device`.
        out: folder of the run, for TensorBoard's files.
    """
    require_extra("finetune", "Fine-tuning")
    from lightning_fabric import Fabric
    from lightning_fabric.loggers import TensorBoardLogger
    from lightning_fabric.plugins.environments import TorchElasticEnvironment
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    logger = TensorBoardLogger(str(out), name="tensorboard", version="")
    chosen = resolve_device(device)
    precision: Any = settings.precision
    if precision == TrainingPrecision.AUTO:
        mixed = TrainingPrecision.BF16 if fast_bfloat16(chosen) else TrainingPrecision.HALF
        precision = mixed if chosen.type == "cuda" else TrainingPrecision.FULL
    if precision == TrainingPrecision.BF16:
        warn_of_slow_bfloat16(chosen)
    many = TorchElasticEnvironment.detect()
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1)) if many else 1
    devices: int | list[int] = int(os.environ["LOCAL_WORLD_SIZE"]) if many else 1
    if chosen.type == "cuda" and chosen.index is not None and not many:
        devices = [chosen.index]
    fabric = Fabric(
        accelerator=chosen.type,
        devices=devices,
        num_nodes=nodes,
        strategy="ddp" if many else "auto",
        precision=cast(Any, precision.value),  # one of the literals that Fabric accepts
        loggers=[logger],
    )
    fabric.launch()
    rank_zero_only.rank = fabric.global_rank  # a cluster's RANK could leave TensorBoard's files empty
    return fabric
