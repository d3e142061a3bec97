"""The classes that Slicer looks for in MedCLIPSAM.py: the panel, the logic and the self-test."""
