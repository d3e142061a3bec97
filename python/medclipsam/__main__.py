"""`python -m medclipsam` is the command `medclipsam`."""

from MedCLIPSAMLib.cli import main

main()
