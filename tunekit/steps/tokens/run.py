"""Rows to tokens: every chunk of every dataset is a part, made once and reused wherever the chunk comes back."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from tunekit.data.crew import side_by_side
from tunekit.data.encoder import Encoder
from tunekit.data.partcache import PartCache
from tunekit.data.rowset import INDEX, Dataset, chunk_path, open_dataset
from tunekit.data.speed import Speed
from tunekit.data.template import ChatTemplate
from tunekit.data.tokenset import TokenPart, Tokens, TokenSet, place_part, write_tokens
from tunekit.data.vocabulary import open_vocabulary
from tunekit.errors import ActionError
from tunekit.forms import AUTO, CONSUMERS, refusal
from tunekit.parts import chunk_name
from tunekit.protocol import Events, Input, Request
from tunekit.steps.tokens.masking import check_ends, encoder_of, warn_of_reasons, warn_of_templates
from tunekit.steps.tokens.part import Earlier, PartLedger, load_ledger, make_part
from tunekit.steps.tokens.reasons import NAMED, summed
from tunekit.steps.tokens.spec import TokenItem
from tunekit.steps.tokens.spec import Tokens as TokensSpec


def run(request: Request, events: Events) -> dict[str, str]:
    """Write the tokens artifact. Raises ActionError (`no-labels` and what Encoder and the openers raise)."""
    spec = msgspec.convert(request.spec, TokensSpec)
    vocabulary = open_vocabulary(request.one("tokenizer").path)
    out = Path(request.out) / "main"
    (out / "parts").mkdir(parents=True)
    sources = request.inputs["data"]
    if events.shelf:
        for source in sources:
            events.shelf.prove(source.digest, [INDEX])
    datasets = [open_dataset(source.path) for source in sources]
    work = _Work(request, events, out, sum(d.rows for d in datasets))
    items = []
    told: list[ChatTemplate | None] = []
    for number, (item, source, dataset) in enumerate(zip(spec.items, sources, datasets, strict=True)):
        if item.format == AUTO:
            item = msgspec.structs.replace(item, format=dataset.shape)
        refused = refusal(CONSUMERS[item.reads], source.label, item.format)
        if refused:
            raise ActionError(refused.message, slug=refused.slug, hint=refused.hint)
        encoder = encoder_of(vocabulary, item)
        items.append(_of(source, work.item, number, item, encoder, dataset, source.digest))
        told.append(encoder.template)
    warn_of_templates(vocabulary, told, events)
    write_tokens(out, Tokens(items, vocabulary.pad_id, vocabulary.eos_id, vocabulary.size))
    _report(sources, items, events)
    warn_of_reasons(sources, items, events)
    check_ends(sources, items, spec.items, events)
    shutil.rmtree(Path(request.staging) / "parts", ignore_errors=True)
    return {"main": "main"}


def _of(dataset: Input, make: Callable[..., TokenSet], *given: Any) -> TokenSet:
    """`make(…)`; an error says whose row it is, and which file the row came from."""
    try:
        return make(*given)
    except ActionError as e:
        row, message = e.data.get("row"), e.message
        if isinstance(row, int):
            message = f"row {row}{dataset.came_from(row)}{message.removeprefix(f'row {row}')}"
        raise ActionError(f"{dataset.label}: {message}", slug=e.slug, hint=e.hint) from e


class _Made(NamedTuple):
    """A part that a process has made: what the one with the pen needs of it."""

    ledger: PartLedger
    output: str  # in the store; empty without one
    copied: int
    read_clock: bool


class _Work:
    """One pass over all datasets: where parts go and how far it is."""

    def __init__(self, request: Request, events: Events, out: Path, total: int) -> None:
        self._request = request
        self._staging = Path(request.staging) / "parts"
        self._events = events
        self._out = out
        self._total = total
        self._done = 0
        self._speed = Speed()
        self._rows = self._tokens = 0  # that were made now
        # A chunk that comes twice under the same settings is tokenized once.
        self._known: dict[tuple[str, bytes], PartLedger] = {}

    def item(self, number: int, item: TokenItem, encoder: Encoder, dataset: Dataset, tree: str) -> TokenSet:
        """All parts of one dataset, the artifact `tree`."""
        cache = PartCache(self._request, self._events, number)
        keys = [(chunk.digest, msgspec.json.encode(item)) for chunk in dataset.chunk_list]
        names = [chunk_name(digest, item.format) for digest, _ in keys]  # `auto`: the base says no form
        firsts = np.cumsum([0, *(chunk.rows for chunk in dataset.chunk_list)]).tolist()
        times = Counter(keys)
        missing: dict[tuple[str, bytes], int] = {}
        for i, key in enumerate(keys):
            ledger = self._known.get(key) or (None if key in missing else self._found(cache, names[i]))
            if ledger is None:
                missing.setdefault(key, i)
            else:
                self._known[key] = ledger
                self._passed(dataset.chunk_list[i].rows)
        earlier = Earlier(cache.earlier(), item.format) if missing else None

        def make(i: int) -> _Made:
            directory = self._staging / f"{number}-{i}"
            if self._events.shelf:
                self._events.shelf.prove(tree, [chunk_path(dataset.chunk_list[i].digest)])
            ledger, copied = make_part(directory, dataset.own_chunk(i), encoder, firsts[i], earlier)
            output = cache.seal(directory, (directory / "tokens.arrow", ledger.digest))
            return _Made(ledger, output, copied, bool(encoder.template and encoder.template.read_clock))

        for i, made in side_by_side(make, list(missing.values()), self._request.resources["cpus"]):
            rows = dataset.chunk_list[i].rows
            files = cache.tell(names[i], made.output, self._staging / f"{number}-{i}", rows, made.copied)
            place_part(self._out, made.ledger.digest, files["tokens.arrow"])
            self._known[keys[i]] = made.ledger
            if encoder.template and made.read_clock:
                encoder.template.read_clock = True
            self._rows, self._tokens = self._rows + rows, self._tokens + made.ledger.tokens
            self._passed(rows * times[keys[i]])
        ledgers = [self._known[key] for key in keys]
        parts = [TokenPart(a.digest, first, a.rows, a.tokens) for a, first in zip(ledgers, firsts[:-1], strict=True)]
        return TokenSet(
            path=self._out,
            shape=item.format,
            train_on=item.train_on,
            row_count=sum(p.rows for p in parts),
            tokens=sum(p.tokens for p in parts),
            labelled=sum(ledger.labelled for ledger in ledgers),
            parts=parts,
            ledger=_summed(ledgers, [p.first_row for p in parts], dataset.rows),
            reads=item.reads,
        )

    def _passed(self, rows: int) -> None:
        self._done += rows
        speed = self._speed.of(rows=self._rows, tokens=self._tokens)
        self._events.progress(self._done, self._total, "row", **speed)

    def _found(self, cache: PartCache, chunk: str) -> PartLedger | None:
        part = cache.find(chunk)
        if part is None:
            return None
        ledger = load_ledger(part.files["ledger.json"])
        place_part(self._out, ledger.digest, part.files["tokens.arrow"])
        cache.use(chunk, part, ledger.rows + ledger.unlabelled)
        return ledger


def _summed(ledgers: list[PartLedger], first_rows: list[int], rows: int) -> dict[str, Any]:
    unlabelled = [first + n for ledger, first in zip(ledgers, first_rows, strict=True) for n in ledger.unlabelled_rows]
    return {
        "read": rows,
        "kept": sum(ledger.rows for ledger in ledgers),
        "straddling": sum(ledger.straddling for ledger in ledgers),
        "unlabelled": sum(ledger.unlabelled for ledger in ledgers),
        "unlabelled_rows": unlabelled[:NAMED],
        **summed([ledger.reasons for ledger in ledgers], first_rows),
    }


def _report(sources: list[Input], items: list[TokenSet], events: Events) -> None:
    """What took effect, and the gate on the share of tokens that carry a label."""
    ratios = [round(i.labelled / i.tokens, 6) if i.tokens else 0.0 for i in items]
    figures = [
        {"data": s.label, "rows": i.row_count, "tokens": i.tokens, "supervised_ratio": r, "ledger": i.ledger}
        | ({"reads": i.reads} if i.reads != "loss" else {})
        for s, i, r in zip(sources, items, ratios, strict=True)
    ]
    events.effective(items=figures)
    measured = [{"data": s.label, "supervised_ratio": r} for s, r in zip(sources, ratios, strict=True)]
    events.gate("supervised_ratio", all(r > 0 for r in ratios), measured, "> 0")
    for source, item in zip(sources, items, strict=True):
        lost = item.ledger["unlabelled"]
        if not item.row_count:
            raise ActionError(
                f"{source.label}: none of its {lost} rows has a labelled token",
                slug="no-labels",
                hint='rows need an assistant turn, or set train_on = "all"',
            )
        if lost:
            message = f"{source.label}: {lost} rows without a labelled token are left out"
            events.warning("unlabelled", message, rows=item.ledger["unlabelled_rows"])
