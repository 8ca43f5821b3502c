"""`tunekit generate`: text from any model of the project, through its own template."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tunekit.cli.command import new_parser, print_json
from tunekit.cli.reading import Found, chosen, find, output_of, read_planner, record_of
from tunekit.completion import Asked, Opening
from tunekit.errors import UsageError

_KINDS = ("model", "run", "merge", "quant")
_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "n")


def parser() -> argparse.ArgumentParser:
    p = new_parser(
        "generate",
        "Text from a run, a merge or a model, through the chat template that it has. Builds nothing and runs\n"
        "no code of the project. The same prompt, options and seed give the same text on the same machine.",
        'tunekit generate run:sft --prompt "Why is the sky blue?"\n'
        "tunekit generate run:sft@best --chat --temperature 0.7     (/exit ends it, /reset forgets)\n"
        "tunekit generate merge:final --file prompts.jsonl --json > answers.jsonl\n"
        "echo 'Once upon a time' | tunekit generate model:base --raw --max-tokens 50",
    )
    p.add_argument("label", metavar="LABEL", help="run:NAME, run:NAME@best, merge:NAME or model:NAME")
    what = p.add_mutually_exclusive_group()
    what.add_argument("--prompt", metavar="TEXT", help="default: what comes on standard input")
    what.add_argument("--file", metavar="FILE", help="JSON lines with `prompt` (text or messages) or `messages`")
    what.add_argument("--chat", action="store_true", help="a conversation; a line of input is a turn")
    p.add_argument("--system", default="", metavar="TEXT", help="a system message in front")
    p.add_argument("--raw", action="store_true", help="no template: the prompt is the beginning of a text")
    p.add_argument("--max-tokens", type=int, default=0, metavar="N", help="default: what fits, 256 at most")
    p.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest token (default)")
    p.add_argument("--top-p", type=float, default=1.0)
    p.add_argument("--top-k", type=int, default=0)
    p.add_argument("--min-p", type=float, default=0.0)
    p.add_argument("--repetition-penalty", type=float, default=1.0)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("-n", type=int, default=1, help="completions a prompt")
    p.add_argument("--attempt", default="", help="(beginning of) an attempt's name or of a key")
    p.add_argument("--json", action="store_true", help="one object a completion")
    return p


def run(args: argparse.Namespace) -> int:
    _check(args)
    prompts = [] if args.chat else _prompts(args)
    opening = _opening(args)
    from tunekit.cli.talking import Talk

    with Talk(opening) as talk:
        if args.chat and not talk.ready["template"]:
            hint = 'declare a [tokenizer] with chat_template = "chatml", or use --prompt'
            raise UsageError(f"{args.label} has no chat template", slug="no-template", hint=hint)
        if args.chat:
            _chat(args, talk)
            return 0
        for row, prompt in enumerate(prompts):
            _one(args, talk, row, prompt, headed=len(prompts) > 1)
    return 0


def _check(args: argparse.Namespace) -> None:
    """UsageError for options that cannot be, before a model is loaded."""
    bounds = {
        "--max-tokens": (args.max_tokens >= 0, "at least 1, or 0 for what fits"),
        "--temperature": (0 <= args.temperature < 100, "at least 0"),
        "--top-p": (0 < args.top_p <= 1, "above 0, at most 1"),
        "--top-k": (args.top_k >= 0, "at least 0"),
        "--min-p": (0 <= args.min_p <= 1, "from 0 to 1"),
        "--repetition-penalty": (0 < args.repetition_penalty < 100, "above 0"),
        "--seed": (0 <= args.seed < 2**63, "at least 0"),
        "-n": (args.n >= 1, "at least 1"),
    }
    for flag, (fine, wanted) in bounds.items():
        if not fine:
            raise UsageError(f"{flag} is {wanted}", hint="tunekit generate --help")
    if args.raw and (args.chat or args.system):
        raise UsageError("--raw has no turns: neither --chat nor --system goes with it", hint="leave out --raw")
    if args.chat and args.n > 1:
        raise UsageError("a conversation goes on with one answer, not with several", hint="leave out -n")
    if args.n > 1 and args.temperature == 0:
        hint = "--temperature 0.7"
        raise UsageError("-n asks for several completions, and without a temperature all are the same", hint=hint)


def _opening(args: argparse.Namespace) -> Opening:
    """The folders of the weights. UsageError: `wrong-kind`, `not-built`, `unknown-output`."""
    import os

    from tunekit.cli.readers import folder
    from tunekit.store import artifacts

    planner = read_planner(args)
    found = find(planner, args.label)
    kind = found.node.action.kind.partition(".")[0]
    if kind not in _KINDS or "#" in found.label:
        hint = "generate takes a run, a merge or a model"
        raise UsageError(f"{found.label} has no weights to generate with", slug="wrong-kind", hint=hint)
    record = chosen(found, args.attempt) if args.attempt else _fresh(found)
    tree = output_of(record, found.output)
    where = folder(planner, found.label, tree)
    cpus = len(os.sched_getaffinity(0))
    entries = artifacts.read_tree(planner.store, tree) or []
    if not any(e.path == "adapter_config.json" for e in entries):
        return Opening(base=where, raw=args.raw, cpus=cpus)
    (base,) = record["inputs"]["base"]
    return Opening(folder(planner, base["label"], base["digest"]), where, args.raw, cpus)


def _fresh(found: Found) -> dict[str, Any]:
    """Only of what is declared now: text of other weights would be told as this run's."""
    record = record_of(found, last=False)
    if record is not None:
        return record
    why = "; ".join(str(r) for r in found.node.reasons) or found.node.state
    hint = f"tunekit build {found.label}"
    if record_of(found) is not None:
        hint += "; or --attempt NAME for one of its earlier results (tunekit show has them)"
    raise UsageError(f"{found.label} is not built as it is declared: {why}", slug="not-built", hint=hint)


def _prompts(args: argparse.Namespace) -> list[Any]:
    if args.file:
        found = list(_rows(Path(args.file)))
    else:
        text = args.prompt if args.prompt is not None else _standard_input()
        found = [text]
    if not args.system:
        return found
    turns = [[{"role": "user", "content": p}] if isinstance(p, str) else p for p in found]
    return [[{"role": "system", "content": args.system}, *t] for t in turns]


def _standard_input() -> str:
    if sys.stdin.isatty():
        raise UsageError("there is no prompt", slug="no-prompt", hint="--prompt TEXT, --file FILE, --chat, or a pipe")
    return sys.stdin.read().removesuffix("\n")


def _rows(file: Path) -> Iterator[Any]:
    """Prompts of a file. UsageError `bad-prompts` with the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UsageError(f"{file} cannot be read: {e}", slug="bad-prompts") from e
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            yield _prompt_of(row)
        except (ValueError, KeyError, TypeError) as e:
            hint = 'a line is {"prompt": "text"}, {"prompt": [messages]} or {"messages": [messages]}'
            raise UsageError(f"{file}:{number}: no prompt: {e}", slug="bad-prompts", hint=hint) from e


def _prompt_of(row: Any) -> Any:
    found = row["prompt"] if "prompt" in row else row["messages"]
    if isinstance(found, str):
        return found
    if not found or not all(isinstance(m["role"], str) and isinstance(m["content"], str) for m in found):
        raise ValueError("messages have `role` and `content`")
    return [{"role": m["role"], "content": m["content"]} for m in found]


def _one(args: argparse.Namespace, talk: Any, row: int, prompt: Any, *, headed: bool) -> None:
    """One prompt, printed as its answer comes."""
    stream = args.n == 1 and not args.json
    if headed and not args.json:
        print(f"--- {row}")
    for answer in talk.ask(_asked(args, [prompt], args.seed + row, stream)):
        if answer["type"] == "piece":
            _print_piece(answer["text"])
        elif args.json:
            _print_completion(args, row, prompt, answer)
        elif stream:
            print()
        else:
            print(_shown(answer["text"]) + "\n---")


def _chat(args: argparse.Namespace, talk: Any) -> None:
    """Turns until /exit or the end of input. The history is what was really said."""
    start = [{"role": "system", "content": args.system}] if args.system else []
    history, turn = list(start), 0
    asks = sys.stdin.isatty() and not args.json
    while (line := _line("> " if asks else "")) is not None:
        if line.strip() == "/exit":
            return
        if line.strip() == "/reset":
            history = list(start)
            continue
        if not line.strip():
            continue
        history.append({"role": "user", "content": line})
        for answer in talk.ask(_asked(args, [history], args.seed + turn, not args.json)):
            if answer["type"] == "piece":
                _print_piece(answer["text"])
                continue
            if args.json:
                _print_completion(args, turn, history, answer)
            else:
                print()
            history = [*history, {"role": "assistant", "content": answer["text"]}]
        turn += 1


def _line(mark: str) -> str | None:
    if mark:
        print(mark, end="", flush=True)
    line = sys.stdin.readline()
    return line.removesuffix("\n") if line else None


def _asked(args: argparse.Namespace, prompts: list[Any], seed: int, stream: bool) -> Asked:
    options = {name: getattr(args, name) for name in _SAMPLING}
    return Asked(prompts, **(options | {"seed": seed, "stream": stream}))


def _print_completion(args: argparse.Namespace, row: int, prompt: Any, answer: dict[str, Any]) -> None:
    told = {"label": args.label, "row": row, "prompt": prompt, "completion": answer["text"]}
    print_json("generate", {**told, "tokens": answer["tokens"], "finished": answer["finished"]})
    sys.stdout.flush()


def _print_piece(text: str) -> None:
    print(_shown(text), end="", flush=True)


def _shown(text: str) -> str:
    """What a model writes may hold anything: a terminal gets no control characters of it."""
    from tunekit.report.look.visible import visible

    return visible(text) if sys.stdout.isatty() else text
