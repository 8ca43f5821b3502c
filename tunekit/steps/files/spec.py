"""The implicit `#files` step: the files of a dataset where they lie in the project, for a run that streams them.

It never runs and copies nothing: its digest is that of the files' bytes, as `path:` sources always have it. How the
files are read is told to whoever reads them, and is in that action's key.
"""

from __future__ import annotations

from typing import Annotated, Any

from tunekit.derive import Action, Edge, Scope
from tunekit.inside import in_project
from tunekit.label import parse_label
from tunekit.spec import Spec, semantic

KIND = "files"
# What of a dataset says how its files are read.
READING = ("reader", "encoding", "split", "format", "fields")


class Files(Spec, frozen=True, kw_only=True):
    """What `[dataset.x]` says of its files, by the same names."""

    source: Annotated[str, semantic("The source as written.")]
    reader: Annotated[str, semantic("How files are read.")] = "auto"
    encoding: Annotated[str, semantic("Encoding of text files.")] = "utf-8"
    split: Annotated[str, semantic("Files by name.")] = ""
    format: Annotated[str, semantic("What rows look like.")] = "rows"
    fields: Annotated[dict[str, Any], semantic("What the format's columns are called.")] = {}


def files_of(dataset: str, scope: Scope) -> tuple[Edge, dict[str, Any]] | None:
    """The edge to a dataset's files and how they are read; None where its rows are not simply those of files: code
    makes or maps them, or which they are is only known when all of them have been seen."""

    def said(name: str) -> Any:
        return scope.dataset_setting(dataset, name)

    label = parse_label(dataset)
    if label is None or not in_project(str(said("source") or "")):
        return None
    if said("map") or said("shuffle") or said("limit") or "[" in said("split"):
        return None
    reading = {name: said(name) for name in READING}
    action = Action(f"{label.target}#files", KIND, {"source": said("source"), **reading}, {}, source=said("source"))
    return scope.add(action), reading
