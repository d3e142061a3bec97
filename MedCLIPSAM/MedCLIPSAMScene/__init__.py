"""What the module does in the scene; the panel is in MedCLIPSAMPanel."""
