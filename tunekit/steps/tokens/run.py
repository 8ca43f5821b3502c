"""Rows to tokens: every chunk of every dataset is a part, made once and reused wherever the chunk comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tunekit.data.encoder import Encoder
from tunekit.data.rowset import Dataset, open_dataset
from tunekit.data.template import ChatTemplate
from tunekit.data.tokenset import TokenPart, Tokens, TokenSet, place_part, write_tokens
from tunekit.data.vocabulary import open_vocabulary
from tunekit.errors import ActionError
from tunekit.forms import AUTO, refusal
from tunekit.protocol import Events, Input, Request
from tunekit.steps.tokens.masking import check_ends, encoder_of, warn_of_reasons, warn_of_templates
from tunekit.steps.tokens.part import PartLedger, load_ledger, make_part
from tunekit.steps.tokens.reasons import summed
from tunekit.steps.tokens.spec import TokenItem
from tunekit.steps.tokens.spec import Tokens as TokensSpec

_NAMED_ROWS = 20  # row numbers that the ledger names


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
    for item, source, dataset in zip(spec.items, sources, datasets, strict=True):
        if item.format == AUTO:
            item = msgspec.structs.replace(item, format=dataset.shape)
        refused = refusal("loss", source.label, item.format)
        if refused:
            raise ActionError(refused.message, slug=refused.slug, hint=refused.hint)
        encoder = encoder_of(vocabulary, item)
        items.append(work.item(item, encoder, source, dataset))
        told.append(encoder.template)
    warn_of_templates(vocabulary, told, events)
    write_tokens(out, Tokens(items, vocabulary.pad_id, vocabulary.eos_id, vocabulary.size))
    _report(sources, items, events)
    warn_of_reasons(sources, items, events)
    check_ends(sources, items, spec.items, events)
    return {"main": "main"}


class _Work:
    """One pass over all datasets: where parts go and how far it is."""

    def __init__(self, request: Request, events: Events, out: Path, total: int) -> None:
        self.staging = Path(request.staging) / "parts"
        self.events = events
        self.out = out
        self.total = total
        self.done = 0
        self.made = 0
        # A chunk that comes twice under the same settings is tokenized once. Settings are those of one item.
        self.known: dict[tuple[str, bytes], PartLedger] = {}

    def item(self, item: TokenItem, encoder: Encoder, source: Input, dataset: Dataset) -> TokenSet:
        """All parts of one dataset."""
        ledgers: list[PartLedger] = []
        parts: list[TokenPart] = []
        first_rows: list[int] = []
        first = 0
        for (digest, table), part in zip(dataset.chunks(), _parts(source, dataset), strict=True):
            known = (digest, msgspec.json.encode(item))
            if known not in self.known:
                self.known[known] = self._part(part, table, encoder, first)
            ledger = self.known[known]
            ledgers.append(ledger)
            parts.append(TokenPart(ledger.digest, first, ledger.rows, ledger.tokens))
            first_rows.append(first)
            first += table.num_rows
            self.done += table.num_rows
            self.events.progress(self.done, self.total, "row")
        return TokenSet(
            path=self.out,
            shape=item.format,
            train_on=item.train_on,
            row_count=sum(p.rows for p in parts),
            tokens=sum(p.tokens for p in parts),
            labelled=sum(ledger.labelled for ledger in ledgers),
            parts=parts,
            ledger=_summed(ledgers, first_rows, dataset.rows),
        )

    def _part(self, part: dict[str, Any], table: Any, encoder: Encoder, first_row: int) -> PartLedger:
        """Reuse the part's artifact, or make it and have it made durable."""
        if part["path"]:
            directory = Path(part["path"])
            ledger = load_ledger(directory)
            place_part(self.out, ledger.digest, directory / "tokens.arrow")
            return ledger
        directory = self.staging / str(self.made)
        self.made += 1
        ledger = make_part(directory, table, encoder, first_row)
        place_part(self.out, ledger.digest, directory / "tokens.arrow")  # before sealing, which may move it
        if part["part"]:
            self.events.part(part["part"], str(directory), rows=ledger.rows)
        return ledger


def _parts(source: Input, dataset: Dataset) -> Iterator[dict[str, Any]]:
    """What the request says of each chunk; without parts in the request every chunk is unnamed and missing."""
    if not source.parts:
        yield from ({"part": "", "path": None} for _ in dataset.chunk_list)
        return
    if [part["input"] for part in source.parts] != [chunk.digest for chunk in dataset.chunk_list]:
        raise ActionError(f"{source.label}: the parts of the request are not the dataset's chunks", slug="wrong-parts")
    yield from source.parts


def _summed(ledgers: list[PartLedger], first_rows: list[int], rows: int) -> dict[str, Any]:
    unlabelled = [first + n for ledger, first in zip(ledgers, first_rows, strict=True) for n in ledger.unlabelled_rows]
    return {
        "read": rows,
        "kept": sum(ledger.rows for ledger in ledgers),
        "straddling": sum(ledger.straddling for ledger in ledgers),
        "unlabelled": sum(ledger.unlabelled for ledger in ledgers),
        "unlabelled_rows": unlabelled[:_NAMED_ROWS],
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
