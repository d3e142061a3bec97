"""Trainers that nnU-Net finds by class name in this folder (nnUNet_extTrainer); the package itself imports none."""
