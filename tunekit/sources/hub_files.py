"""Which files of a hub repository a source means: only what a target is made of. Pure: a listing in, names out.

`#path` that names one file or is a glob: exactly what it names. Otherwise (a folder, or no `#path`: the root), by use:

- a model: `config.json`, `generation_config.json`, the tokenizer's files, and the safetensors weights that Transformers
  would read: those that `model.safetensors.index.json` names, else `model.safetensors`, else every `*.safetensors`.
  Only directly in the folder. Pickled weights are never taken.
- a tokenizer: the tokenizer's files alone.
- a dataset: files whose suffix says that they hold rows, at any depth, but for what starts with a dot.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from tunekit import pickled
from tunekit.errors import SourceError, nearest
from tunekit.lockfile import bad_path
from tunekit.sources.select import is_glob, matches, name_in_artifact

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "chat_template.jinja", "chat_template.json",
    "additional_chat_templates/*.jinja",
)  # fmt: skip
MODEL = ("config.json", "generation_config.json", *TOKENIZER)
ROWS = (".parquet", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".arrow")
PACKED = (".gz", ".zst")
ABOUT = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # facts, no rows
INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"

Read = Callable[[str], bytes]  # the bytes of one file of the repository


def wanted(source: str, use: str, fragment: str, paths: list[str], read: Read) -> dict[str, str]:
    """Name in the artifact → path in the repository. `use`: model, dataset or tokenizer.

    SourceError: `missing-file`, `pickle-weights`, `no-weights`, `bad-weights`, `path-outside-project`.
    """
    named = {name: path for path in paths if (name := name_in_artifact(path, fragment))}
    if fragment and not named:
        raise _nothing(source, fragment, paths)
    exact = is_glob(fragment) or fragment in paths
    if exact:
        found = named
    elif use == "dataset":
        found = {name: path for name, path in named.items() if _holds_rows(name)}
    else:
        found = {name: path for name, path in named.items() if _in(name, MODEL if use == "model" else TOKENIZER)}
        if use == "model":
            found |= _weights(source, named, read)
    if use == "model" and (wrong := sorted(p for p in found.values() if p.lower().endswith(pickled.SUFFIXES))):
        raise _pickled(source, wrong)
    if not found:
        raise _no_use(source, use, sorted(named.values()))
    if list(found) == [fragment.rpartition("/")[2]] and not exact:
        hint = f"name the file: `#{found[next(iter(found))]}`"
        raise SourceError(
            f"`{source}`: a folder that only holds a file of its own name", slug="missing-file", hint=hint
        )
    for path in found.values():
        if reason := bad_path(path):
            hint = "name other files after `#`"
            raise SourceError(f"`{source}`: file name {path!r} {reason}", slug="path-outside-project", hint=hint)
    return found


def path_in_repository(fragment: str, names: list[str], name: str) -> str:
    """The inverse of `wanted` for one name of the artifact, given all of them."""
    if is_glob(fragment):
        fixed = next(i for i, part in enumerate(fragment.split("/")) if is_glob(part))
        return "/".join([*fragment.split("/")[:fixed], name])
    if names == [fragment.rpartition("/")[2]]:
        return fragment
    return f"{fragment}/{name}" if fragment else name


def _in(name: str, patterns: tuple[str, ...]) -> bool:
    return any(matches(name, pattern) for pattern in patterns)


def _holds_rows(name: str) -> bool:
    if any(part.startswith(".") for part in name.split("/")):
        return False
    bare = name.lower()
    for suffix in PACKED:
        bare = bare.removesuffix(suffix)
    return bare.endswith(ROWS) and bare.rpartition("/")[2] not in ABOUT


def _weights(source: str, named: dict[str, str], read: Read) -> dict[str, str]:
    if INDEX in named:
        shards = _shards(source, named[INDEX], read)
        if lost := sorted(shards - set(named)):
            message = f"`{source}`: `{named[INDEX]}` names `{lost[0]}`, which is not in the repository"
            raise SourceError(message, slug="bad-weights", hint="use another revision of it")
        return {name: named[name] for name in {INDEX, *shards}}
    if SINGLE in named:
        return {SINGLE: named[SINGLE]}
    found = {name: path for name, path in named.items() if "/" not in name and name.endswith(".safetensors")}
    if found:
        return found
    if wrong := sorted(p for n, p in named.items() if "/" not in n and n.lower().endswith(pickled.SUFFIXES)):
        raise _pickled(source, wrong)
    hint = "name the folder that has them after `#`, or another repository"
    if any(name.endswith(".gguf") for name in named):
        hint = "it holds GGUF files: name one after `#`, or the repository that they were made from"
    raise SourceError(f"`{source}` has no *.safetensors weights", slug="no-weights", hint=hint)


def _shards(source: str, path: str, read: Read) -> set[str]:
    try:
        names = set(json.loads(read(path))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        names = {0}
    if not names or not all(isinstance(name, str) and "/" not in name for name in names):
        message = f"`{source}`: `{path}` is not an index of weights beside it"
        raise SourceError(message, slug="bad-weights", hint="use another revision of it")
    return names


def _pickled(source: str, wrong: list[str]) -> SourceError:
    hint = f"the repository may have a safetensors copy on a pull request (`@refs/pr/N`); else {pickled.HINT}"
    return SourceError(pickled.message(f"`{source}`", wrong), slug=pickled.SLUG, hint=hint)


def _nothing(source: str, fragment: str, paths: list[str]) -> SourceError:
    folders = {path[:i] for path in paths for i, c in enumerate(path) if c == "/"}
    close = nearest(fragment, [*sorted(folders), *paths])
    hint = close if close.startswith("did") else _holds(paths)
    return SourceError(f"`{source}`: nothing in the repository matches `{fragment}`", slug="missing-file", hint=hint)


def _no_use(source: str, use: str, paths: list[str]) -> SourceError:
    files = {
        "dataset": f"files of rows ({', '.join(ROWS)}, also with {' or '.join(PACKED)})",
        "tokenizer": "files of a tokenizer",
        "model": "files of a model",
    }[use]
    hint = "name files after `#`; " + _holds(paths)
    return SourceError(f"`{source}` has no {files}", slug="missing-file", hint=hint)


def _holds(paths: list[str]) -> str:
    return "it holds " + (", ".join(sorted(paths)[:8]) or "no files") + (" …" if len(paths) > 8 else "")
