"""`medclipsam`: a running worker is given the command line, where there is one; else it runs in this process."""

from __future__ import annotations

import gc
import sys

from MedCLIPSAMLib.command_worker.client import hand_over


def main() -> None:
    """Run the command line and end with its exit code."""
    code = hand_over(sys.argv[1:])
    if code is not None:
        sys.exit(code)
    gc.disable()  # nothing that is imported is garbage
    from MedCLIPSAMLib import cli  # the command line's packages

    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
