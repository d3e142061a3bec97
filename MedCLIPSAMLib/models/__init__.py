"""Models by name: the catalogue, download and offline folder, BiomedCLIP, SAM 2."""
