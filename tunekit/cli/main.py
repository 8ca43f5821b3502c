"""The command line: one table of verbs; each verb is a module that is imported when it is used."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunekit.errors import TunekitError

# verb → (module, one line). Order is that of `tunekit --help`.
VERBS = {
    "build": ("build", "build targets: run what is stale, nothing else"),
    "plan": ("plan", "what a build would do, and why"),
    "status": ("status", "which targets are fresh or stale"),
    "why": ("why", "why an action is stale, and what its key is made of"),
    "graph": ("graph", "the graph as text, DOT, Mermaid or JSON"),
    "query": ("query", "labels that a target needs, or that need it"),
    "show": ("show", "a target: spec, key, artifact, metrics, provenance"),
    "log": ("log", "the log of an action"),
    "path": ("path", "where a result is"),
    "inspect": ("inspect", "the rows of a dataset, and which of their tokens are trained"),
    "diff": ("diff", "what differs between two results"),
    "report": ("report", "results as one page: curves, settings, samples, provenance"),
    "generate": ("generate", "text from a run, a merge or a model"),
    "export": ("export", "write a result as real files, with a model card"),
    "bundle": ("bundle", "a project and its results in one archive, and back"),
    "publish": ("publish", "upload a result to a Hugging Face hub"),
    "lock": ("lock", "pin sources in tunekit.lock"),
    "promote": ("promote", "choose which attempt is the result of a target"),
    "push": ("push", "share results through the remote"),
    "pull": ("pull", "take results that others made from the remote"),
    "init": ("init", "make a new project that builds as it stands"),
    "add": ("add", "add a dataset or a model to tunekit.toml"),
    "trust": ("trust", "allow this project's code to run"),
    "clean": ("clean", "remove this project's state and unfinished work"),
    "gc": ("gc", "free the store of what nothing refers to"),
    "verify": ("verify", "hash the store's objects again"),
    "doctor": ("doctor", "what this machine can run, and what is missing"),
    "schema": ("schema", "JSON schema of tunekit.toml, for editors"),
    "docs": ("docs", "documentation in the terminal"),
    "env": ("env", "the locked environment"),
}


def usage() -> str:
    width = max(map(len, VERBS)) + 2
    lines = ["usage: tunekit <verb> [options] [label…]", "", "verbs:"]
    lines += [f"  {verb:<{width}}{line}" for verb, (_, line) in VERBS.items()]
    lines += [
        "",
        "options everywhere: -C DIR (project folder), --debug (tracebacks), --help",
        "exit codes: 0 done, 1 a target failed, 2 usage or declaration, 3 lock out of date, 4 stale,",
        "            5 gate failed, 6 not trusted, 70 bug, 130 interrupted",
        "",
        "examples:",
        "  tunekit init my-project && cd my-project && tunekit build",
        "  tunekit build run:grpo",
        "  tunekit why run:grpo",
    ]
    return "\n".join(lines)


def run(argv: list[str]) -> int:
    """Run one command line; the exit code."""
    if argv[:1] in (["--version"], ["-V"]):
        import tunekit

        print(f"tunekit {tunekit.__version__}")
        return 0
    debug = "--debug" in argv
    try:
        if not argv or argv[0] in ("-h", "--help", "help"):
            print(usage())
            sys.stdout.flush()
            return 0
        code = _dispatch(argv[0], [a for a in argv[1:] if a != "--debug"])
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues from here", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: not an error of ours
        return 0
    except Exception as e:
        return _failed(e, debug)


def _failed(error: Exception, debug: bool) -> int:
    from tunekit.errors import TunekitError

    if debug:
        raise error
    error = _disk_full(error) or _of_the_system(error) or error
    if isinstance(error, TunekitError):
        print(error.render(), file=sys.stderr)
        return error.exit_code
    print(
        f"error[bug]: {type(error).__name__}: {error}\n"
        "  = help: this is a mistake in tunekit; run again with --debug for the traceback",
        file=sys.stderr,
    )
    return 70


_SYSTEM = {
    errno.EROFS: ("read-only", "it is mounted read-only: set TUNEKIT_STORE to a place that can be written"),
    errno.EACCES: ("no-permission", "see whose it is, and what it allows"),
    errno.EPERM: ("no-permission", "see whose it is, and what it allows"),
    errno.EMFILE: ("too-many-files", "raise the limit of open files (`ulimit -n`), or build with a smaller `--jobs`"),
    errno.ENFILE: ("too-many-files", "the machine has no file descriptor left"),
    errno.EIO: ("io-error", "look at the disk; then `tunekit verify`"),
}


def _of_the_system(error: Exception) -> TunekitError | None:
    """What the operating system refused, by its name."""
    from tunekit.errors import StoreError, UsageError

    if isinstance(error, FileNotFoundError) and _nowhere():
        return UsageError("the folder that this is called in is gone", slug="missing-file", hint="cd to another one")
    if not isinstance(error, OSError) or error.errno not in _SYSTEM:
        return None
    slug, hint = _SYSTEM[error.errno]
    return StoreError(f"{error.filename or 'a file'}: {error.strerror}", slug=slug, hint=hint)


def _nowhere() -> bool:
    """Whether the working directory has been removed."""
    try:
        return not os.getcwd()
    except FileNotFoundError:
        return True


def _disk_full(error: Exception) -> TunekitError | None:
    """The error by its name, if it came from a full disk."""
    from tunekit import diskspace
    from tunekit.store.store import default_root

    if getattr(error, "slug", "") == "disk-full" or not diskspace.ran_out(error):
        return None
    try:
        sys.stdout.flush()
    except OSError:
        sys.stdout = None  # the interpreter would try again at its end
    return diskspace.full(error, [default_root(), "."])


def _dispatch(verb: str, argv: list[str]) -> int:
    from importlib import import_module

    from tunekit.errors import UsageError, nearest

    if verb not in VERBS:
        raise UsageError(f"there is no verb `{verb}`", slug="unknown-verb", hint=nearest(verb, list(VERBS)))
    module = import_module(f"tunekit.cli.{VERBS[verb][0]}")
    parser = module.parser()
    parser.add_argument("-C", dest="folder", default=".", metavar="DIR", help="the project's folder")
    return int(module.run(parser.parse_args(argv)))
