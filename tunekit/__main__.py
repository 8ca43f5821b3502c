"""`python -m tunekit` and the `tunekit` command."""

from __future__ import annotations

import os
import sys

try:
    _here = os.getcwd()
except OSError:  # removed meanwhile: verbs that need a folder say so
    _here = ""
# `python -m tunekit` puts the folder that it is called in on the path: a stranger's `json.py` would be ours
if sys.path and sys.path[0] == _here != os.path.dirname(os.path.dirname(os.path.abspath(__file__))):
    del sys.path[0]


def main() -> None:
    import gc

    from tunekit.cli.main import run

    gc.disable()  # a verb lives for milliseconds and keeps what it reads; a build turns it on again

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
