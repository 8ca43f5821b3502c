"""`tunekit inspect`: the rows of a dataset, and what of them a model is trained on."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import read_planner
from tunekit.cli.writing import replaced
from tunekit.errors import UsageError

if TYPE_CHECKING:
    from tunekit.report.look.view import View

_LIMIT, _LIMIT_OF_A_PAGE = 5, 50


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "inspect",
        "Look into the rows of a dataset: columns, lengths, ledger, samples. With a run or\n"
        "an eval: the tokens that it reads, as its chat template prints them, and which of\n"
        "them are trained; where the run streams, of the first rows. Builds nothing, runs no\n"
        "code of the project. A stale target is shown as it was last built, and says so.\n"
        "More: tunekit docs inspect",
        "tunekit inspect dataset:chat\n"
        "tunekit inspect dataset:chat --with run:sft   (trained: in colour, or in ⟦…⟧)\n"
        "tunekit inspect run:sft --html page.html      (all that the run reads)\n"
        "tunekit inspect dataset:chat --with run:sft --row 17 --full\n"
        'tunekit inspect dataset:chat --grep "do not know" --limit 20\n'
        "tunekit inspect run:sft --diff                (rows and tokens that changed)",
    )
    p.add_argument("label", metavar="LABEL", help="dataset:NAME, run:NAME or eval:NAME")
    p.add_argument("--with", dest="reader", default="", metavar="LABEL", help="a run or an eval that reads the dataset")
    p.add_argument("--row", type=int, action="append", default=[], metavar="N", help="this row (from 0; repeatable)")
    p.add_argument("--grep", default="", metavar="TEXT", help="rows with this text in one of their strings")
    p.add_argument("-i", "--ignore-case", action="store_true", help="for --grep")
    p.add_argument("--limit", type=int, metavar="N", help="rows (or changes) to show of each dataset")
    p.add_argument("--all", action="store_true", help="statistics over every row, not over 10,000")
    p.add_argument("--full", action="store_true", help="do not cut long rows")
    p.add_argument("--diff", action="store_true", help="what changed between the last two different results")
    p.add_argument("--html", metavar="FILE", help="write one self-contained page")
    p.add_argument("--json", action="store_true")
    return p


def run(args: argparse.Namespace) -> int:
    _check(args)
    from tunekit.cli.asking import ask
    from tunekit.cli.subjects import compared, shown
    from tunekit.question import Question

    planner = read_planner(args)
    look = compared if args.diff else shown
    before, after = look(planner, args.label, args.reader)
    if args.row and len(after) > 1:
        hint = f"tunekit inspect {after[0].subject.label} --with {args.label} --row {args.row[0]}"
        raise UsageError(f"{args.label} reads {len(after)} datasets, and --row is of one", hint=hint)
    streamed = [one.subject.label for one in after if one.subject.streamed]
    if args.all and streamed:
        hint = f"without --all its first rows are looked at; tunekit inspect {streamed[0]} --all is of a built dataset"
        raise UsageError(f"{streamed[0]} is streamed: --all would read it to its end", slug="streamed", hint=hint)
    limit = args.limit if args.limit is not None else _LIMIT_OF_A_PAGE if args.html else _LIMIT
    question = Question(
        subjects=[one.subject for one in after],
        before=[one.subject for one in before],
        rows=args.row,
        grep=args.grep,
        ignore_case=args.ignore_case,
        limit=limit,
        every=args.all,
        full=args.full,
    )
    heads = iter(after)
    with _view(args) as view:
        for answer in ask(question):
            if answer["type"] == "subject":
                view.begin(next(heads).head)
            view.take(answer)
    return 0


def _check(args: argparse.Namespace) -> None:
    """UsageError for flags that do not go together."""
    chosen = [flag for flag, given in (("--row", args.row), ("--grep", args.grep), ("--diff", args.diff)) if given]
    if len(chosen) > 1:
        raise UsageError(f"{chosen[0]} and {chosen[1]} both say what to show", hint="choose one of them")
    if args.html and args.json:
        raise UsageError("--html and --json are two outputs", hint="choose one of them")
    if args.limit is not None and args.limit < 0:
        raise UsageError(f"--limit {args.limit} is less than nothing", hint="--limit 0 shows statistics only")


@contextlib.contextmanager
def _view(args: argparse.Namespace) -> Iterator[View]:
    """What draws, and puts what it drew where it belongs when nothing went wrong."""
    if args.json:
        from tunekit.report.look.view import Collected

        collected = Collected()
        yield collected
        print_json("inspect", {"label": args.label, "with": args.reader, "datasets": collected.datasets})
    elif args.html:
        from tunekit.report.look.page import Page

        words = ["tunekit inspect", args.label, *(["--with", args.reader] if args.reader else [])]
        with replaced(Path(args.html)) as write:
            page = Page(" ".join(words + (["--diff"] if args.diff else [])), write)
            yield page
            page.close()
        print(args.html)
    else:
        from tunekit.report.look.screen import Screen

        yield Screen()
