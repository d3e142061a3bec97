"""The module's operations on the scene; the panel is in MedCLIPSAMPanel."""
