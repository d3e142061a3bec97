"""Models by name: the catalogue, download and offline folder, BiomedCLIP, SAM 2."""

import warnings

# timm before 1.0.23, at which nnunetv2 holds it, names at every import what torch 2.14 has deprecated.
warnings.filterwarnings("ignore", "`torch.jit.interface` is deprecated", FutureWarning)
