"""Rows to tokens: every chunk of every dataset is a part, made once and reused wherever the chunk comes back."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from tunekit.data.encoder import Encoder
from tunekit.data.partcache import CHUNK, PartCache
from tunekit.data.rowset import Dataset, open_dataset
from tunekit.data.template import ChatTemplate
from tunekit.data.tokenset import TokenPart, Tokens, TokenSet, place_part, write_tokens
from tunekit.data.vocabulary import open_vocabulary
from tunekit.errors import ActionError
from tunekit.forms import AUTO, refusal
from tunekit.hashing import digest_of
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
    datasets = [open_dataset(source.path) for source in sources]
    work = _Work(request, events, out, sum(d.rows for d in datasets))
    items = []
    told: list[ChatTemplate | None] = []
    for number, (item, source, dataset) in enumerate(zip(spec.items, sources, datasets, strict=True)):
        if item.format == AUTO:
            item = msgspec.structs.replace(item, format=dataset.shape)
        refused = refusal("loss", source.label, item.format)
        if refused:
            raise ActionError(refused.message, slug=refused.slug, hint=refused.hint)
        encoder = encoder_of(vocabulary, item)
        items.append(work.item(number, item, encoder, dataset))
        told.append(encoder.template)
    warn_of_templates(vocabulary, told, events)
    write_tokens(out, Tokens(items, vocabulary.pad_id, vocabulary.eos_id, vocabulary.size))
    _report(sources, items, events)
    warn_of_reasons(sources, items, events)
    check_ends(sources, items, spec.items, events)
    shutil.rmtree(Path(request.staging) / "parts", ignore_errors=True)
    return {"main": "main"}


class _Work:
    """One pass over all datasets: where parts go and how far it is."""

    def __init__(self, request: Request, events: Events, out: Path, total: int) -> None:
        self._request = request
        self._staging = Path(request.staging) / "parts"
        self._events = events
        self._out = out
        self._total = total
        self._done = 0
        self._directories = 0
        # A chunk that comes twice under the same settings is tokenized once.
        self._known: dict[tuple[str, bytes], PartLedger] = {}

    def item(self, number: int, item: TokenItem, encoder: Encoder, dataset: Dataset) -> TokenSet:
        """All parts of one dataset."""
        cache = PartCache(self._request, self._events, number)
        settings = msgspec.json.encode(item)
        earlier: Earlier | None = None
        ledgers: list[PartLedger] = []
        parts: list[TokenPart] = []
        first = 0
        for digest, table in dataset.own_chunks():
            chunk = digest_of([digest, item.format], CHUNK)  # under `auto` the base does not say the form
            ledger = self._known.get((digest, settings)) or self._found(cache, chunk)
            if ledger is None:
                earlier = earlier or Earlier(cache.earlier(), item.format)
                ledger = self._made(cache, chunk, table, encoder, first, earlier)
            self._known[digest, settings] = ledger
            ledgers.append(ledger)
            parts.append(TokenPart(ledger.digest, first, ledger.rows, ledger.tokens))
            first += len(table)
            self._done += len(table)
            self._events.progress(self._done, self._total, "row")
        return TokenSet(
            path=self._out,
            shape=item.format,
            train_on=item.train_on,
            row_count=sum(p.rows for p in parts),
            tokens=sum(p.tokens for p in parts),
            labelled=sum(ledger.labelled for ledger in ledgers),
            parts=parts,
            ledger=_summed(ledgers, [p.first_row for p in parts], dataset.rows),
        )

    def _found(self, cache: PartCache, chunk: str) -> PartLedger | None:
        part = cache.find(chunk)
        if part is None:
            return None
        ledger = load_ledger(part.files["ledger.json"])
        place_part(self._out, ledger.digest, part.files["tokens.arrow"])
        cache.use(chunk, part, ledger.rows + ledger.unlabelled)
        return ledger

    def _made(
        self, cache: PartCache, chunk: str, table: pa.Table, encoder: Encoder, first: int, earlier: Earlier
    ) -> PartLedger:
        directory = self._staging / str(self._directories)
        self._directories += 1
        ledger, copied = make_part(directory, table, encoder, first, earlier)
        hashed = (directory / "tokens.arrow", ledger.digest)
        files = cache.keep(chunk, directory, len(table), copied, hashed)
        place_part(self._out, ledger.digest, files["tokens.arrow"])
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
