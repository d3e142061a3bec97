"""`python -m medclipsam` is the command `medclipsam`."""

from MedCLIPSAMLib.__main__ import main

main()
