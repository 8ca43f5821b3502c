"""`python -m tunekit` and the `tunekit` command."""

from __future__ import annotations

import sys


def main() -> None:
    from tunekit.cli.main import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
