"""`python -m MedCLIPSAMLib` is `medclipsam`."""

from .cli import main

main()
