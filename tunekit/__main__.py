"""`python -m tunekit` and the `tunekit` command."""

from __future__ import annotations

import sys


def main() -> None:
    import gc

    from tunekit.cli.main import run

    gc.disable()  # a verb lives for milliseconds and keeps what it reads; a build turns it on again

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
