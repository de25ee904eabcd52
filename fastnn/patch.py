"""Run a script with scikit-learn's MLPs replaced: ``python -m fastnn.patch script.py [arguments]``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from fastnn.patching import patch_sklearn

USAGE = "usage: python -m fastnn.patch SCRIPT [ARGUMENTS ...]"


def main(arguments: list[str]) -> int:
    """Patch, then run the script as `python SCRIPT ARGUMENTS` would."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"{USAGE}\n\n{__doc__}")
        return 0 if arguments else 2
    script = Path(arguments[0])
    if not script.is_file():
        print(f"{USAGE}\nSCRIPT must be a Python file; there is none at {arguments[0]!r}.", file=sys.stderr)
        return 2
    patch_sklearn()
    sys.argv = arguments
    # As Python does it; with -P or -I neither puts a folder there.
    if not sys.flags.safe_path:
        sys.path[0] = str(script.resolve().parent)
    runpy.run_path(arguments[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
