"""How fast rows are worked on: figures for progress events, never for a record."""

from __future__ import annotations

import time


class Speed:
    """Averages since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def of(self, **counts: int) -> dict[str, float]:
        """`rows_per_s` of `rows`, and so on; what there is none of is left out."""
        passed = max(time.monotonic() - self._began, 1e-3)
        return {f"{name}_per_s": round(count / passed) for name, count in counts.items() if count}
