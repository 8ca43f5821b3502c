"""The implicit `#fetch` step: the files of a pinned source, materialised in the store."""

from __future__ import annotations

from typing import Annotated

from tunekit.spec import Spec, semantic


class Fetch(Spec, frozen=True, kw_only=True):
    """Its output digest is known from the lock (or from the project's own file) before it runs."""

    source: Annotated[str, semantic("The source as written.")]
