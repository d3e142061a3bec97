"""Trainers that nnU-Net looks up by their class name in this folder (nnUNet_extTrainer); the package imports none."""
