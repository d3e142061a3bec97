"""`python -m MedCLIPSAMLib.worker` serves requests; see docs/worker.md."""

from .server import main

main()
