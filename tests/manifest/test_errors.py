"""Every mistake in a declaration: its slug, file, line, table, key and way out; all of them in one go; exit 2."""

from __future__ import annotations

import pytest

from tunekit.manifest.project import load
from tunekit.manifest.scope import build_graph

GOOD = """\
[project]
name = "p"

[dataset.a]
source = "path:a.jsonl"
format = "chat"

[tokenizer.t]
data = ["dataset:a"]

[model.m]
config = { model_type = "llama" }
tokenizer = "tokenizer:t"

[adapter.lora]
r = 4

[run.x]
method = "sft"
model = "model:m"
adapter = "adapter:lora"
data = ["dataset:a"]

[merge.f]
inputs = ["run:x"]
"""


@pytest.fixture
def good(project):
    project.write("tunekit.toml", GOOD)
    project.write("a.jsonl", "{}\n")
    project.write("code.py", "def f(row): return row\nlater = f\n")
    assert project.problems() == []
    return project


# (what to replace, by what, slug, line, table, key, a word of the message or hint)
ONE = [
    ("r = 4", "rr = 4", "unknown-key", 16, "adapter.lora", "rr", "did you mean `r`?"),
    ("r = 4", 'r = "4"', "wrong-type", 16, "adapter.lora", "r", "Rank"),
    ("r = 4", "r = 0", "wrong-type", 16, "adapter.lora", "r", ">= 1"),
    ("r = 4", "alpha = inf", "non-finite", 16, "adapter.lora", "alpha", "inf and nan"),
    ("r = 4", "alpha = -nan", "non-finite", 16, "adapter.lora", "alpha", "inf and nan"),
    ("r = 4", 'bias = "some"', "wrong-type", 16, "adapter.lora", "bias", "bias"),
    ('model = "model:m"', 'model = "model:n"', "unknown-label", 20, "run.x", "model", "did you mean `model:m`?"),
    ('model = "model:m"', 'model = "tokenizer:t"', "wrong-kind", 20, "run.x", "model", "model or run or merge"),
    ('model = "model:m"', 'model = "m"', "bad-label", 20, "run.x", "model", "labels look like"),
    ('model = "model:m"', 'model = "model:m@best"', "unknown-output", 20, "run.x", "model", "model:m"),
    ('model = "model:m"', 'model = "run:x"', "cycle", 20, "run.x", "model", "run:x → run:x"),
    *[('data = ["dataset:a"]\n\n[merge', f'data = ["dataset:a"]\nstreaming = true\n{more}\n[merge', *wanted)
      for more, *wanted in [
        ('overlong = "split"', "missing-key", 18, "run.x", "max_steps", "a stream has no end"),
        ("max_steps = 5", "bad-value", 18, "run.x", "overlong", '`overlong = "split"`'),
        ('overlong = "drop"\nmax_steps = 5\nepochs = 2', "bad-value", 26, "run.x", "epochs", "`max_steps` says"),
        ('overlong = "drop"\nmax_steps = 5\ngroup_by_length = true', "bad-value", 26, "run.x", "group_by_length",
         "lengths of all rows"),
      ]],
    ('data = ["dataset:a"]\n\n[merge', 'data = ["dataset:a"]\nbuffer_tokens = 9\n[merge', "bad-value", 23, "run.x",
     "buffer_tokens", "streaming = true"),
    ('data = ["dataset:a"]\n\n[merge',
     'data = [{ dataset = "dataset:a", limit = 3 }]\nstreaming = true\nmax_steps = 1\noverlong = "split"\n[merge',
     "bad-value", 22, "run.x", "data", "no first rows"),
    ('data = ["dataset:a"]\n\n[model', 'data = ["dataset:a#fetch"]\n\n[model', "unknown-output", 9,
     "tokenizer.t", "data", "step"),
    ("[merge.f]", "[store]\nroot = 1\n[merge.f]", "table-not-yet", 24, "store", "", "no effect"),
    ("r = 4", "r = 4\nalpha = 8\n\n[environment.vllm]", "missing-key", 19, "environment.vllm", "", "python"),
    ("r = 4", 'r = 4\n[environment.default]\npython = "x"', "bad-name", 17, "environment.default", "", "runs in"),
    ("r = 4", 'r = 4\n[environment.vllm]\npyton = "x"', "unknown-key", 18, "environment.vllm", "pyton", "python"),
    ('data = ["dataset:a"]\n\n[merge', 'data = ["dataset:a"]\ngates = { loss = "< " }\n\n[merge', "bad-value", 23,
     "run.x", "gates", "is not a bound"),
    ('method = "sft"\nmodel = "model:m"', 'method = "sft"', "missing-key", 18, "run.x", "", "`model` is missing"),
    ('method = "sft"', 'method = "stf"', "unknown-method", 19, "run.x", "method", "did you mean `sft`?"),
    ('method = "sft"\n', "", "missing-key", 18, "run.x", "", "`method` is missing"),
    ('method = "sft"', 'recipe = "nope"', "unknown-recipe", 19, "run.x", "recipe", "nope"),
    ('inputs = ["run:x"]', "inputs = []", "wrong-type", 25, "merge.f", "inputs", "length"),
    ("[merge.f]", "[merg.f]", "unknown-kind", 24, "merg", "", "did you mean `merge`?"),
    ("[merge.f]", "[merge.F]", "bad-name", 24, "merge.F", "", "lower-case"),
    ("[merge.f]", "[merge.f]\n[merge.f]", "duplicate-target", 25, "", "", "twice"),
    ("[merge.f]\ninputs", "[merge]\nf", "wrong-type", 25, "merge.f", "", "is a table"),
    ("[merge.f]", "[merge.f", "bad-toml", 24, "", "", "not valid TOML"),
    ('format = "chat"', 'format = "chat"\nmap = "code.py:g"', "missing-function", 7, "dataset.a", "map", "valid: f"),
    ('format = "chat"', 'format = "chat"\nmap = "cod.py:f"', "missing-file", 7, "dataset.a", "map", "code.py"),
    ('format = "chat"', 'format = "chat"\nmap = "code:f"', "bad-code-path", 7, "dataset.a", "map", "file.py:function"),
    ('format = "chat"', 'format = "chat"\nmap = "../x.py:f"', "path-outside-project", 7, "dataset.a", "map", "outside"),
    ('format = "chat"', 'format = "chat"\nfiles = ["/etc/passwd"]', "path-outside-project", 7,
     "dataset.a", "files", "outside"),
    ('format = "chat"', 'format = "chat"\nsplit = "x["', "bad-value", 7, "dataset.a", "split", "[:500]"),
    ('format = "chat"', 'format = "rows"', "wrong-format", 22, "run.x", "data", "needs `chat`"),
    ('format = "chat"', 'format = "chat"\nchat_template = "chatlm"', "bad-value", 7, "dataset.a", "chat_template",
     "did you mean `chatml`?"),
    ('data = ["dataset:a"]\n\n[merge', 'data = [{ dataset = "dataset:a", chat_template = "lama3" }]\n\n[merge',
     "unknown-template", 22, "run.x", "data", "did you mean `llama3`?"),
    ('data = ["dataset:a"]\n\n[merge', 'data = [{ dataset = "dataset:a", chat_template = "no.jinja" }]\n\n[merge',
     "missing-file", 22, "run.x", "data", "no.jinja"),
    ('data = ["dataset:a"]\n\n[merge', 'data = [{ dataset = "dataset:a", roles = ["narrator"] }]\n\n[merge',
     "wrong-type", 22, "run.x.data", "roles", "narrator"),
    ('format = "chat"', 'format = "preference"', "wrong-format", 22, "run.x", "data", "has `preference` rows"),
    ('format = "chat"', 'format = "caht"', "wrong-type", 6, "dataset.a", "format", "did you mean `chat`?"),
    ('format = "chat"', 'format = "zz"', "wrong-type", 6, "dataset.a", "format", "valid: alpaca, auto"),
    ('format = "chat"', 'format = "chat"\nfields = { mesages = "x" }', "unknown-key", 7, "dataset.a", "fields",
     "did you mean `messages`?"),
    ('format = "chat"', 'format = "chat"\nfields = { roles = { ai = "bot" } }', "bad-value", 7, "dataset.a", "fields",
     "which is no role"),
    ('format = "chat"', 'format = "chat"\n[dataset.a.fields]\nrole = 3', "wrong-type", 7, "dataset.a", "fields", "str"),
    ('format = "chat"', 'format = "auto"\nfields = { role = "from" }', "bad-value", 7, "dataset.a", "fields",
     "say which format"),
    ('source = "path:a.jsonl"', "", "bad-value", 4, "dataset.a", "source", "exactly one"),
    ('"path:a.jsonl"', '"path:a.json"', "missing-file", 5, "dataset.a", "source", "did you mean `a.jsonl`?"),
    ('"path:a.jsonl"', '"path:dat/a.jsonl"', "missing-file", 5, "dataset.a", "source", "no `dat` in the project"),
    ('"path:a.jsonl"', '"path:*.json"', "missing-file", 5, "dataset.a", "source", "did you mean `a.jsonl`?"),
    ('"path:a.jsonl"', '"path:"', "source-syntax", 5, "dataset.a", "source", "names no file"),
    ('"path:a.jsonl"', '"path:../a.jsonl"', "path-outside-project", 5, "dataset.a", "source", "leaves the project"),
    ('"path:a.jsonl"', f'"path:{"a" * 300}"', "missing-file", 5, "dataset.a", "source", "too long"),
    ('"path:a.jsonl"', '"a.jsonl"', "source-syntax", 5, "dataset.a", "source", "no scheme"),
    ('"path:a.jsonl"', '"dataset:b"', "unknown-scheme", 5, "dataset.a", "source", '`from = ["dataset:b"]`'),
    ('"path:a.jsonl"', '"pyp:x@1#a.jsonl"', "unknown-scheme", 5, "dataset.a", "source", "did you mean `pypi`?"),
    ('"path:a.jsonl"', '"pypi:x@#a.jsonl"', "source-syntax", 5, "dataset.a", "source", "no version after `@`"),
    ('config = { model_type = "llama" }', 'source = "make:code.py:f"', "source-no-pin", 12, "model.m", "source",
     "`make:` is an action"),
    ('name = "p"', 'name = "p"\ndefault = ["merge:g"]', "unknown-label", 3, "project", "default",
     "did you mean `merge:f`?"),
    ('name = "p"', 'name = "p"\ninclude = ["../*.toml"]', "path-outside-project", 3, "project", "include", "leaves"),
    ('name = "p"', 'name = "p"\ninclude = [""]', "bad-value", 3, "project", "include", ""),
    ('name = "p"', 'name = "p"\nnmae = 1', "unknown-key", 3, "project", "nmae", "did you mean `name`?"),
    ('name = "p"', "", "missing-key", 1, "project", "", "`name` is missing"),
    ('[project]\nname = "p"', "", "missing-key", 0, "", "", "[project]"),
    ('data = ["dataset:a"]\n\n[merge', 'data = [{ dataset = "dataset:a", wieght = 1 }]\n\n[merge',
     "unknown-key", 22, "run.x.data", "wieght", "did you mean `weight`?"),
    ('data = ["dataset:a"]\n\n[merge', 'data = ["dataset:a"]\nmicro_batch_size = 3\n\n[merge',
     "bad-value", 23, "run.x", "micro_batch_size", "multiple"),
]  # fmt: skip


@pytest.mark.parametrize("case", ONE, ids=lambda c: f"{c[2]}-{c[5] or c[4]}")
def test_one_mistake(good, case):
    old, new, slug, line, table, key, word = case
    assert GOOD.count(old) >= 1
    good.write("tunekit.toml", GOOD.replace(old, new, 1))
    found = good.problems()
    assert [p.slug for p in found][:1] == [slug], [p.render() for p in found]
    first = found[0]
    if line:
        assert (first.file, first.line, first.table, first.key) == ("tunekit.toml", line, table, key), first.render()
    assert word in first.render()


def test_all_mistakes_in_one_go_on_the_command_line(good):
    """Targets and recipes, in use or not; one message each, exit 2, no traceback."""
    good.write("tunekit.toml", GOOD.replace("r = 4", "rr = 4").replace('format = "chat"', 'format = "caht"'))
    good.write(
        "targets/more.toml", '[dataset.a]\nsource = "path:a.jsonl"\n\n[eval.e]\nmodel = "run:y"\ndata = ["dataset:a"]\n'
    )
    good.write("recipes/unused.toml", 'method = "sft"\nlearning_rat = 1\ndata = ["dataset:a"]\n')
    good.write("recipes/other.toml", "method = 3\n")
    done = good.run("build")
    assert done.code == 2 and "Traceback" not in done.err and not done.out
    for text in (
        "error[unknown-key]: unknown key `rr`\n  --> tunekit.toml:16  [adapter.lora] rr\n  = help: did you mean `r`?",
        "error[wrong-type]: `format`",
        "error[duplicate-target]: dataset:a is declared twice\n  --> targets/more.toml:1  [dataset.a]\n"
        "  = help: the other one: tunekit.toml:4",
        "error[unknown-label]: there is no `run:y`\n  --> targets/more.toml:5  [eval.e] model",
        "error[unknown-key]: unknown key `learning_rat`\n  --> recipes/unused.toml:2  learning_rat\n"
        "  = help: did you mean `learning_rate`?",
        "error[label-in-recipe]: a recipe never names a label (`dataset:a`)\n  --> recipes/unused.toml:3  data",
        "error[unknown-method]: unknown method `3`\n  --> recipes/other.toml:1  method",
    ):  # fmt: skip
        assert text in done.err, f"{text}\n--- is not in ---\n{done.err}"
    assert done.err.count("error[unknown-label]") == 1, "a label of a target that is wrong itself is not said again"


def test_sources_are_checked_in_every_table(good):
    """Used or not, in a table that is wrong in another way too, beside a bad [project] and a file that is no TOML."""
    good.write("tunekit.toml", GOOD.replace('name = "p"', 'nam = "p"').replace("a.jsonl", "b.jsonl"))
    good.write(
        "targets/more.toml",
        """\
        [dataset.unused]
        source = "path:unsued.jsonl"
        [dataset.typo]
        source = "path:typo.jsonl"
        fromat = "chat"
        [model.m2]
        source = "npm:@x/y"
        [tokenizer.t2]
        source = "https//x"
    """,
    )
    good.write("targets/z.toml", "[dataset.b\n")
    good.write("unused.jsonl", "")
    done = good.run("plan")
    assert done.code == 2 and not done.out
    for text in (
        "error[unknown-key]: unknown key `nam`\n  --> tunekit.toml:2  [project] nam",
        "error[missing-file]: `path:b.jsonl`: there is no `b.jsonl` in the project\n"
        "  --> tunekit.toml:5  [dataset.a] source\n  = help: did you mean `a.jsonl`?",
        "error[missing-file]: `path:unsued.jsonl`: there is no `unsued.jsonl` in the project\n"
        "  --> targets/more.toml:2  [dataset.unused] source\n  = help: did you mean `unused.jsonl`?",
        "  --> targets/more.toml:4  [dataset.typo] source",
        "error[unknown-key]: unknown key `fromat`\n  --> targets/more.toml:5  [dataset.typo] fromat",
        "error[source-syntax]: `https//x` is not a source: it has no scheme\n"
        "  --> targets/more.toml:9  [tokenizer.t2] source",
        "error[bad-toml]",
    ):
        assert text in done.err, f"{text}\n--- is not in ---\n{done.err}"
    assert "npm:@x/y" not in done.err, "what is not here yet is legal to declare and to plan"


def test_labels_of_a_file_that_cannot_be_read_are_not_unknown(good):
    good.write("targets/more.toml", "[dataset.b]\nformat = chat\n")
    good.write("tunekit.toml", GOOD.replace('["dataset:a"]', '["dataset:b"]') + "[merge.g]\n")
    assert sorted(p.slug for p in good.problems()) == ["bad-toml", "missing-key"]
    good.write("tunekit.toml", "[project\n")
    good.write("targets/more.toml", '[eval.e]\nmodel = "run:x"\ndata = []\nkey = 1\n')
    assert sorted(p.slug for p in good.problems()) == ["bad-toml", "unknown-key", "wrong-type"]


def test_a_cycle_over_several_targets_is_printed_once(project):
    project.manifest("".join(f'[dataset.d{i}]\nfrom = ["dataset:d{(i + 1) % 3}"]\n' for i in range(3)))
    (found,) = project.problems()
    assert found.slug == "cycle" and found.message.count("→") == 3
    assert (found.line, found.table, found.key) == (2 + 2, "dataset.d0", "from"), found.render()


def test_every_cycle_is_told_beside_the_other_mistakes(good):
    loops = "".join(f'[dataset.{a}]\nfrom = ["dataset:{b}"]\n' for a, b in ("pq", "qp", "rs", "sr"))
    good.write("tunekit.toml", GOOD.replace("r = 4", "rr = 4") + loops)
    assert sorted(p.slug for p in good.problems()) == ["cycle", "cycle", "unknown-key"]


def test_a_number_that_is_not_finite_is_said_once(good):
    for text in ("learning_rate = nan", "gates = { loss = inf }", "adapter = { r = -inf }"):
        good.write("recipes/r.toml", f'method = "sft"\n{text}\n')
        assert [p.slug for p in good.problems()] == ["non-finite"], text


def test_a_long_chain_is_no_problem(project):
    project.write("a.jsonl", "{}\n")
    lines = ['[dataset.d0]\nsource = "path:a.jsonl"\n']
    lines += [f'[dataset.d{i}]\nfrom = ["dataset:d{i - 1}"]\n' for i in range(1, 1500)]
    project.manifest("".join(reversed(lines)))
    graph, _ = build_graph(load(project.root, [], []), [])
    assert list(graph.actions)[-1] == "dataset:d1499" and graph.default == ["dataset:d1499"]


@pytest.mark.parametrize(
    ("file", "data", "slug"),
    [
        ("tunekit.toml", b"\xff\xfe", "bad-toml"),
        ("tunekit.toml", b"a = " + b"[" * 5000, "bad-toml"),
        ("tunekit.toml", b"x = 1\n", "missing-key"),
        ("tunekit.toml", b"project = 3\n", "missing-key"),
        ("targets/a.toml", b"[dataset]\na = 1\n", "wrong-type"),
        ("targets/a.toml", b"dataset = 1\n", "unknown-kind"),
        ("targets/a.toml", b"[[dataset]]\n", "unknown-kind"),
        ("targets/a.toml", b"[dataset.a.b]\nc = 1\n", "duplicate-target"),
    ],
)
def test_odd_files(good, file, data, slug):
    (good.root / "targets").mkdir(exist_ok=True)
    (good.root / file).write_bytes(data)
    done = good.run("build")
    assert done.code == 2 and f"error[{slug}]" in done.err, done.err


def test_a_folder_called_toml_and_links_out_of_the_project(good, tmp_path):
    """Decision 9: reading a stranger's project follows no link out of it."""
    (good.root / "targets" / "dir.toml").mkdir(parents=True)
    (tmp_path / "secret.toml").write_text("[secret.a]\n")
    (good.root / "targets" / "link.toml").symlink_to(tmp_path / "secret.toml")
    (good.root / "recipes").mkdir()
    (good.root / "recipes" / "link.toml").symlink_to(tmp_path / "secret.toml")
    (good.root / "leak.py").symlink_to(tmp_path / "secret.py")
    found = good.problems()
    assert sorted((p.slug, p.file) for p in found) == [
        ("missing-file", "targets/dir.toml"),
        ("path-outside-project", "recipes/link.toml"),
        ("path-outside-project", "targets/link.toml"),
    ]


def test_the_same_file_by_two_globs_counts_once(good):
    good.write("targets/more.toml", '[dataset.b]\nsource = "path:a.jsonl"\n')
    include = 'name = "p"\ninclude = ["targets/*.toml", "*.toml", "targets/more.toml"]'
    good.write("tunekit.toml", GOOD.replace('name = "p"', include))
    assert good.problems() == []


@pytest.mark.parametrize(
    ("text", "slug"),
    [("run:x", "usage"), ("run:y.seed=1", "usage"), ("run:x.seed", "usage"), ("run:x.sed=1", "unknown-key"),
     ("run:x.seed=nan", "non-finite"), ("run:x.seed=[inf]", "non-finite"), ("=", "usage"),
     ("run:x.seed=one", "wrong-type")],
)  # fmt: skip
def test_wrong_overrides(good, text, slug):
    done = good.run("build", "--set", text)
    assert done.code == 2 and f"error[{slug}]" in done.err, done.err


def test_overrides_are_typed_and_deep(good):
    planner = good.planner("run:x.learning_rate=1e-3", "run:x.adapter.r=3", "run:x.optimizer=adamw_torch_fused")
    fields = planner.graph.actions["run:x"].fields
    assert fields["learning_rate"] == 1e-3 and fields["optimizer"] == "adamw_torch_fused"
    assert fields["adapter"] == {"method": "lora", "r": 3}


def test_unknown_labels_of_a_request(good):
    done = good.run("build", "run:y")
    assert done.code == 2 and "error[unknown-label]" in done.err and "did you mean `run:x`?" in done.err
    assert good.run("build", "adapter:lora").code == 2


def test_no_project(tmp_path, project):
    done = project.run("build")
    assert done.code == 2 and "error[no-project]" in done.err


def test_nothing_declared(project):
    project.manifest("")
    done = project.run("build")
    assert done.code == 2 and "error[no-targets]" in done.err


def test_generation_needs_prompts(good):
    """GRPO, and an eval with a scorer: a mistake of the plan, not of the worker."""
    more = (
        '\n[run.g]\nmethod = "grpo"\nmodel = "model:m"\ndata = ["dataset:a"]\nrewards = [{ fn = "code.py:f" }]\n'
        '\n[eval.e]\nmodel = "model:m"\ndata = ["dataset:a"]\nscorer = "code.py:f"\n'
    )
    good.write("tunekit.toml", GOOD + more)
    found = good.problems()
    assert [(p.slug, p.table, p.key) for p in found] == [
        ("wrong-format", "run.g", "data"),
        ("wrong-format", "eval.e", "data"),
    ]
    assert "dataset:a has `chat` rows; generation needs `prompt` or `ground_truth` rows" in found[0].message
    for format in ("prompt", "ground_truth", "auto"):
        good.write("tunekit.toml", (GOOD + more).replace('format = "chat"', f'format = "{format}"'))
        assert {p.table for p in good.problems()} <= {"run.x"}
