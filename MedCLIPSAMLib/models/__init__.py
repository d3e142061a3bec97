"""Models by name: the catalogue, downloads and offline folders, BiomedCLIP and SAM 2."""
