"""The trainer of the weakly supervised stage, which stock nnU-Net v2 finds through nnUNet_extTrainer.

nnUNet_extTrainer=.../MedCLIPSAMLib/nnunet/trainers nnUNetv2_train 101 2d all -tr nnUNetTrainerMedCLIPSAM
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from safetensors.torch import save_model
from torch._dynamo import OptimizedModule

from MedCLIPSAMLib.files.atomic import atomic_path
from MedCLIPSAMLib.nnunet.schedule import BEST, SEED_IN_PLANS, read_schedule

PROGRESS = "progress.jsonl"


class CyclicalRate:
    """A scheduler of the optimizer's learning rate, with the interface that nnU-Net expects."""

    def __init__(self, optimizer: torch.optim.Optimizer, rate) -> None:
        self._optimizer, self._rate = optimizer, rate

    def step(self, epoch: int) -> None:
        """Set the learning rate of an epoch."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate(epoch)


class nnUNetTrainerMedCLIPSAM(nnUNetTrainer):  # noqa: N801  # as nnU-Net names its trainers
    """nnU-Net's trainer with the cyclical rate of `nnunet.schedule.Schedule`, which keeps weights from each cycle.

    The weights alone are kept, as safetensors files beside nnU-Net's own checkpoints. progress.jsonl gets one line per
    epoch.
    """

    def __init__(self, plans, configuration, fold, dataset_json, device=torch.device("cuda")):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.schedule = read_schedule(self.plans_manager.plans)
        self.initial_lr = self.schedule.learning_rate
        self.num_epochs = self.schedule.total
        self.num_iterations_per_epoch = self.schedule.iterations
        self.num_val_iterations_per_epoch = self.schedule.validations
        self.save_every = min(self.save_every, max(1, self.schedule.epochs // 4))
        self._started = time.time()
        seed = self.plans_manager.plans.get(SEED_IN_PLANS)
        if seed is not None:
            for set_seed in (random.seed, np.random.seed, torch.manual_seed):
                set_seed(seed)

    def configure_optimizers(self):
        """Return nnU-Net's optimizer and the cyclical scheduler."""
        optimizer, _ = super().configure_optimizers()
        return optimizer, CyclicalRate(optimizer, self.schedule.rate)

    def on_epoch_end(self):
        """Store the weights if the epoch belongs to the ensemble, and log the epoch's progress."""
        epoch = self.current_epoch
        if self.local_rank == 0 and self.schedule.keeps(epoch):
            self._keep(Path(self.output_folder) / self.schedule.file(epoch))
        super().on_epoch_end()
        if self.local_rank == 0:
            self._tell(epoch)

    def save_checkpoint(self, filename: str) -> None:
        """Write nnU-Net's checkpoint atomically, so that a killed run resumes from the last complete one."""
        if self.local_rank == 0 and not self.disable_checkpointing:
            with atomic_path(filename) as temporary:
                super().save_checkpoint(str(temporary))
            if Path(filename).name == "checkpoint_best.pth":
                self._keep(Path(filename).with_name(BEST))

    def perform_actual_validation(self, save_probabilities: bool = False):
        """Skip the validation, since nnU-Net would validate only the last weights, not the ensemble."""
        self.print_to_log_file("The ensemble is validated by its predictions: medclipsam weak predict.")

    def _keep(self, path: Path) -> None:
        network = self.network.module if self.is_ddp else self.network
        network = network._orig_mod if isinstance(network, OptimizedModule) else network
        with atomic_path(path) as temporary:
            save_model(network, str(temporary))

    def _tell(self, epoch: int) -> None:
        last = lambda name: float(self.logger.get_value(name, step=-1))
        line = {
            "epoch": epoch + 1,
            "epochs": self.num_epochs,
            "rate": self.schedule.rate(epoch),
            "loss": last("train_losses"),
            "validation_loss": last("val_losses"),
            "dsc": last("mean_fg_dice"),
            "seconds": time.time() - self._started,
        }
        with open(Path(self.output_folder) / PROGRESS, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
