"""`medclipsam`: hands the command line to a running worker if there is one, or runs it in this process."""

from __future__ import annotations

import os
import sys
from types import ModuleType


def main() -> None:
    """Run the command line and exit with its code, even if it is interrupted during startup."""
    try:
        os.getcwd()
    except FileNotFoundError:
        sys.stderr.write("error: The current folder of this terminal was removed.\n  Change to another one: cd ~\n")
        sys.exit(2)
    try:
        cli = _start()
    except KeyboardInterrupt:  # nothing has begun; Python itself would die of the signal if it is within an exec()
        print("Interrupted.", file=sys.stderr, flush=True)
        os._exit(130)
    except ModuleNotFoundError as error:  # not all packages are installed
        from MedCLIPSAMLib.errors import EXIT_ERROR, with_remedy

        refusal = with_remedy(error)
        if refusal is None:
            raise
        print(f"error: {refusal.problem}\n  {refusal.remedy}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    cli.main()


def _start() -> ModuleType:
    import gc

    from MedCLIPSAMLib.command_worker.client import hand_over
    from MedCLIPSAMLib.resources import MPS_FALLBACK

    os.environ.setdefault(MPS_FALLBACK, "1")  # before torch is imported, which reads it once
    code = hand_over(sys.argv[1:])
    if code is not None:
        sys.exit(code)
    gc.disable()  # importing creates no garbage
    from MedCLIPSAMLib import cli  # imports the packages of the command line

    gc.enable()
    return cli


if __name__ == "__main__":
    main()
