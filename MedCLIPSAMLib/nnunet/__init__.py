"""nnU-Net on a dataset of pseudo-labels: training, prediction with uncertainty, and review."""
