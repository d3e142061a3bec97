"""Serve requests as `python -m MedCLIPSAMLib.worker`; see docs/worker.md."""

from .server import main

main()
