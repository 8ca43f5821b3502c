"""Identity: what makes a node stale, and what never does (design §3)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from keys_of import SAMPLE, keys_of, manifest_of, write_sample

from tunekit.spec import SEMANTIC, FieldInfo, fields_of
from tunekit.steps.adapter.spec import Adapter
from tunekit.steps.dataset.spec import MASKING
from tunekit.steps.rewards.spec import Reward

GOLDEN = Path(__file__).with_name("golden.json")
REGENERATE = "TUNEKIT_GOLDEN"

# Where another value cannot be guessed from the type: fields that name something of the sample project.
OTHER: dict[str, Any] = {
    "dataset.source": "path:other.jsonl", "dataset.from": ["dataset:made"], "dataset.map": "data.py:make",
    "dataset:chat.fields": {"role": "from"},
    "dataset:made.fields": {"text": "body"},
    "dataset:mixed.fields": {"roles": {"ai": "user"}},
    "run:grpo.data": ["dataset:prompts"] * 2,
    "eval:score.data": ["dataset:prompts"] * 2,
    "dataset.roles": ["user"], "dataset.chat_template": "{{ x }}",
    "dataset.split": "[:50%]", "dataset.packages": ["acme"], "dataset.files": ["other.jsonl"],
    "tokenizer.source": "path:other.jsonl", "tokenizer.data": ["dataset:chat"], "tokenizer.chat_template": "{{ x }}",
    "model.source": "path:other.jsonl", "model.tokenizer": "", "merge.inputs": ["run:sft"],
    "run.model": "run:full", "run:grpo.model": "run:sft@best", "run.data": ["dataset:mixed"],
    "run.adapter": Adapter(r=5), "run.train_parameters": ["lm_head.*"], "run.packages": ["acme"],
    "run.files": ["other.jsonl"], "run.eval_data": ["dataset:chat"], "run.rewards": [Reward(fn="rewards.py:short")],
    "eval.model": "run:full", "eval.data": ["dataset:mixed"], "eval.scorer": "rewards.py:short",
}  # fmt: skip
# One spec of every room as the sample declares it. (`method` chooses the room: it cannot change within it.)
TARGETS = ["dataset:chat", "dataset:made", "dataset:mixed", "tokenizer:words", "model:tiny", "run:sft", "run:full",
           "run:stream", "run:grpo", "merge:final", "eval:loss", "eval:score"]  # fmt: skip
FIXED = {"method"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample")
    write_sample(root)
    manifest = manifest_of(root)
    return manifest, keys_of(manifest, by="label")


def another(value: Any, hint: Any) -> Any:
    """A different value that the type allows; None if there is none."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Annotated:
        return another(value, args[0])
    if typing.get_origin(hint) is typing.Literal:
        return next((a for a in args if a != value), None)
    if args and type(None) in args:
        return 0.5 if "float" in str(hint) else 3
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    if isinstance(value, str):
        return value + "x"
    if isinstance(value, dict):
        return {**value, "n": "> 1"}
    return [*value, "other"]


def field_cases() -> list[tuple[str, str]]:
    import tunekit.kinds as kinds

    rooms = {**{f"{k}": v for k, v in kinds.TARGETS.items()}, "run:sft": kinds.METHODS["run.sft"],
             "run:full": kinds.METHODS["run.sft"], "run:stream": kinds.METHODS["run.sft"],
             "run:grpo": kinds.METHODS["run.grpo"]}  # fmt: skip
    out = []
    for target in TARGETS:
        room = rooms.get(target) or rooms[target.partition(":")[0]]
        out += [(target, name) for name in fields_of(room.spec_type()) if name not in FIXED]
    return out


def changed_keys(sample: Any, target: str, spec: Any) -> set[str]:
    manifest, before = sample
    targets = {**manifest.targets, target: manifest.targets[target]._replace(spec=spec)}
    after = keys_of(manifest._replace(targets=targets), by="label")
    moved = {label for label in before.keys() | after.keys() if before.get(label) != after.get(label)}
    # Files where they lie are in the graph while somebody streams them; their key is their bytes.
    return {label for label in moved if not label.endswith("#files") or label in before.keys() & after.keys()}


def test_every_field_is_in_the_key_or_is_not(sample):
    """A semantic field changes the key of its target (or of a step of it), a numeric or operational one none."""
    wrong = []
    for target, name in field_cases():
        kind = target.partition(":")[0]
        spec = sample[0].targets[target].spec
        info: FieldInfo = fields_of(type(spec))[name]
        attribute = {"from": "from_"}.get(name, name)
        old = getattr(spec, attribute)
        new = OTHER.get(f"{target}.{name}", OTHER.get(f"{kind}.{name}", another(old, info.type)))
        if new is None or new == old:  # a choice of one
            assert typing.get_origin(typing.get_args(info.type)[0]) is typing.Literal, (
                f"{target} {name}: no other value"
            )
            continue
        if (target, name) in OUT_OF_PLACE:
            continue
        moved = changed_keys(sample, target, msgspec.structs.replace(spec, **{attribute: new}))
        own = {label for label in moved if label.partition("#")[0] == target}
        if kind == "dataset" and name in MASKING:
            if any(not label.endswith("#tokens") and label != "run:stream" for label in moved):
                wrong.append(f"{target} {name} changes keys that are not of tokens: {sorted(moved)}")
            continue
        if info.cls == SEMANTIC and not own:
            wrong.append(f"{target} {name}: {old!r} → {new!r} is semantic, but changes no key")
        elif info.cls != SEMANTIC and moved:
            wrong.append(f"{target} {name} is {info.cls}, but changes {sorted(moved)}")
        elif moved - own and name not in ("format", *PASSED_ON.get(kind, ())):
            wrong.append(f"{target} {name} changes keys of others: {sorted(moved - own)}")
    assert not wrong, "\n".join(wrong)


# Fields that mean nothing for that target: a mapped dataset has no second source, a loss has no scorer's limits.
OUT_OF_PLACE = {
    ("eval:score", "sequence_len"), ("dataset:mixed", "source"), ("dataset:made", "from"), ("dataset:chat", "from"),
    ("eval:loss", "measure"), ("eval:score", "measure"),  # whose rows are none to choose from (test_eval_measure.py)
    ("tokenizer:words", "source"), ("eval:loss", "scorer"), ("run:full", "model"),  # (that would be itself)
    ("run:sft", "streaming"), ("run:full", "streaming"),  # they have no `max_steps`; run:stream is the one to ask
    ("run:sft", "train_parameters"), ("run:grpo", "train_parameters"),  # they have an adapter
}  # fmt: skip
# What a target tells about itself beyond its bytes: the policy and tokenizer behind a model role.
PASSED_ON = {
    "dataset": ("source",),
    "model": ("tokenizer",),
    "run": ("model", "adapter"),
    "merge": ("inputs",),
    "eval": (),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [("reader", "jsonl"), ("encoding", "latin-1"), ("split", "c"), ("fields", {"text": "t"}), ("format", "segments"),
     ("train_on", "all"), ("roles", ["user"]), ("chat_template", "{{ x }}"), ("require_end", False)],
)  # fmt: skip
def test_how_streamed_files_are_read_is_in_the_key_of_the_run(sample, name: str, value: Any):
    """It is the run that reads them; and the dataset, if it is built."""
    spec = sample[0].targets["dataset:corpus"].spec
    moved = changed_keys(sample, "dataset:corpus", msgspec.structs.replace(spec, **{name: value}))
    assert moved == {"run:stream"} | ({"dataset:corpus"} if name not in MASKING else set())


def test_streamed_files_are_in_the_key_by_their_bytes(sample):
    root = sample[0].root
    before = keys_of(sample[0])
    assert "run:stream" in before and "dataset:corpus#files" in before
    (root / "corpus.jsonl").write_text('{"text": "b"}\n')
    after = keys_of(sample[0])
    (root / "corpus.jsonl").write_text('{"text": "a"}\n')
    moved = {label for label in before if before[label] != after[label]}
    assert moved == {"dataset:corpus#files", "dataset:corpus#fetch", "dataset:corpus", "run:stream"}


def test_what_a_dataset_says_of_masks_is_in_the_keys_of_its_tokens(sample):
    """And in no other key: the rows are the same. An item of a run may say otherwise."""
    from tunekit.methods.spec import DataItem

    manifest, before = sample
    chat, made, run = (manifest.targets[name].spec for name in ("dataset:chat", "dataset:made", "run:sft"))
    other = {"train_on": "last", "roles": ["user", "tool"], "chat_template": "chatml", "require_end": False}
    for name, value in other.items():
        changed_chat = msgspec.structs.replace(chat, **{name: value})
        assert changed_keys(sample, "dataset:chat", changed_chat) == {"run:sft#tokens"}, name
        changed = msgspec.structs.replace(made, **{name: value})
        assert changed_keys(sample, "dataset:made", changed) == {
            "run:sft#tokens", "run:full#tokens", "eval:loss#tokens", "run:stream", "run:stream#tokens"
        }, name  # fmt: skip
        said = [DataItem(dataset="dataset:chat", **{name: fields_of(type(chat))[name].default}), *run.data[1:]]
        targets = {
            **manifest.targets,
            "dataset:chat": manifest.targets["dataset:chat"]._replace(
                spec=msgspec.structs.replace(chat, **{name: value})
            ),
            "run:sft": manifest.targets["run:sft"]._replace(spec=msgspec.structs.replace(run, data=said)),
        }
        assert keys_of(manifest._replace(targets=targets), by="label") == before, name


def test_a_template_file_enters_keys_by_its_text(sample, tmp_path):
    """Renamed: the same keys. Edited: other keys of the tokens, and of nothing that does not read them."""
    found = {}
    for folder, name, text in (("a", "t.jinja", "{{ a }}"), ("b", "u.jinja", "{{ a }}"), ("c", "t.jinja", "{{ b }}")):
        root = tmp_path / folder
        root.mkdir()
        write_sample(root)
        (root / name).write_text(text)
        toml = (root / "tunekit.toml").read_text()
        item = f'{{ dataset = "dataset:chat", chat_template = "{name}" }}'
        (root / "tunekit.toml").write_text(toml.replace('data = ["dataset:chat", {', f"data = [{item}, {{"))
        found[folder] = keys_of(manifest_of(root), by="label")
    assert found["a"] == found["b"]
    assert {label for label, key in found["c"].items() if key != found["a"][label]} == {"run:sft#tokens"}


def test_every_adapter_field_reaches_the_run(sample):
    lora = sample[0].targets["adapter:lora"].spec
    for name, info in fields_of(Adapter).items():
        new = another(getattr(lora, name), info.type)
        if new is not None:
            moved = changed_keys(sample, "adapter:lora", msgspec.structs.replace(lora, **{name: new}))
            assert moved == {"run:sft"}, name


def test_items_of_a_run(sample):
    """Weight and limit are the run's, the mask is the tokens', a reward's weight is not the code's."""
    from tunekit.methods.spec import DataItem

    run = sample[0].targets["run:sft"].spec
    grpo = sample[0].targets["run:grpo"].spec

    def with_item(**more: Any) -> set[str]:
        item = DataItem(**{"dataset": "dataset:made", "weight": 0.5, "limit": 3, **more})
        return changed_keys(sample, "run:sft", msgspec.structs.replace(run, data=["dataset:chat", item]))

    assert with_item() == set()
    assert with_item(weight=0.25) == with_item(limit=None) == with_item(limit=4) == {"run:sft"}
    assert with_item(train_on="all") == {"run:sft#tokens"}
    swapped = msgspec.structs.replace(run, data=list(reversed(run.data)))
    assert changed_keys(sample, "run:sft", swapped) == {"run:sft", "run:sft#tokens"}
    heavier = [Reward(fn="rewards.py:right", weight=3.0), Reward(fn="rewards.py:short")]
    assert changed_keys(sample, "run:grpo", msgspec.structs.replace(grpo, rewards=heavier)) >= {"run:grpo"}


def test_golden_keys(tmp_path):
    """Keys of all that anybody ever built with this version. If this fails, everybody's results become stale:
    raise the version of the kind on purpose, or undo the change. Regenerate with TUNEKIT_GOLDEN=1."""
    write_sample(tmp_path)
    found = keys_of(manifest_of(tmp_path))
    if os.environ.get(REGENERATE) == "1":
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == json.loads(GOLDEN.read_text()), f"keys changed; if on purpose: {REGENERATE}=1 pytest {__file__}"


def test_keys_are_the_same_everywhere(tmp_path):
    """Another folder, user, locale, time zone, hash seed and working directory."""
    golden = json.loads(GOLDEN.read_text())
    place = tmp_path / "Ünï cödé" / "deep"
    write_sample(place)
    script = str(Path(__file__).with_name("keys_of.py"))
    for seed, zone, locale in (("1", "Asia/Tokyo", "C"), ("77", "UTC", "de_DE.UTF-8")):
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "USER": "x", "PYTHONHASHSEED": seed, "TZ": zone,
               "LC_ALL": locale, "OMP_NUM_THREADS": "7", "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
        done = subprocess.run([sys.executable, script, str(place)], env=env, capture_output=True, text=True, cwd="/")
        assert json.loads(done.stdout or "0") == golden, done.stderr


def test_names_comments_order_and_layout_are_not_identity(tmp_path):
    golden = set(json.loads(GOLDEN.read_text()).values())
    write_sample(tmp_path)
    text = SAMPLE["tunekit.toml"]
    head, *tables = text.strip().split("\n\n")
    rewritten = "\r\n".join(
        line + "   # why"
        for first, *keys in (table.split("\n") for table in [head, *reversed(tables)])
        for line in [first, *reversed(keys)]
    )  # fmt: skip
    (tmp_path / "tunekit.toml").write_bytes(rewritten.encode())
    assert set(keys_of(manifest_of(tmp_path)).values()) == golden
    moved = text.replace("made", "other-name").replace("run.sft", "run.x").replace("run:sft", "run:x")
    (tmp_path / "targets").mkdir()
    (tmp_path / "tunekit.toml").write_text('[project]\nname = "another"\n')
    (tmp_path / "targets" / "all.toml").write_text(
        moved.partition("\n\n")[2].replace("make:data.py:other-name", "make:data.py:made")
    )
    assert set(keys_of(manifest_of(tmp_path)).values()) == golden
    spelled = text.replace("vocab_size = 300", "vocab_size = 0x12c").replace("weight = 2.0", "weight = 2")
    (tmp_path / "targets" / "all.toml").unlink()
    (tmp_path / "tunekit.toml").write_text(spelled.replace("r = 4", "r = 4\nalpha = 32.0  # the default, said"))
    assert set(keys_of(manifest_of(tmp_path)).values()) == golden


def edited(root: Path, path: str, text: str) -> set[str]:
    """Labels whose key an edit of a file changes, where it is made."""
    before = keys_of(manifest_of(root), by="label")
    old = (root / path).read_bytes() if (root / path).exists() else None
    (root / path).parent.mkdir(exist_ok=True)
    (root / path).write_text(text)
    after = keys_of(manifest_of(root), by="label")
    if old is None:
        (root / path).unlink()
    else:
        (root / path).write_bytes(old)
    assert keys_of(manifest_of(root), by="label") == before
    return {label for label in before if before[label] != after[label]}


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("rewards.py", SAMPLE["rewards.py"] + "# note\n", {"run:grpo", "run:grpo#rewards", "eval:score"}),
        ("checks/numbers.py", "same = None\n", {"run:grpo", "run:grpo#rewards", "eval:score"}),
        ("checks/__init__.py", "x = 1\n", {"run:grpo", "run:grpo#rewards", "eval:score"}),
        ("shapes.py", "turns = list\n", {"dataset:chat", "dataset:made"}),
        ("unused.py", "x = 2\n", set()),
        ("other.py", "x = 2\n", set()),
        ("checks.py", "a = 1\n", {"run:grpo", "run:grpo#rewards", "eval:score"}),  # a new file that an import may find
        ("prompts.jsonl", '{"prompt": "2"}\n', {"dataset:prompts#fetch", "dataset:prompts"}),
        ("chat.jsonl", "{}\n", {"dataset:chat#fetch", "dataset:chat"}),
    ],
)  # fmt: skip
def test_code_and_data_by_content(tmp_path, path, text, expected):
    write_sample(tmp_path)
    assert edited(tmp_path, path, text) == expected


def test_line_ends_of_code_do_not_count(tmp_path):
    """A checkout on another system changes no key (design §3: newlines normalised)."""
    write_sample(tmp_path)
    assert edited(tmp_path, "shapes.py", SAMPLE["shapes.py"].replace("\n", "\r\n")) == set()


def test_part_keys():
    from tunekit.kinds import STEPS
    from tunekit.parts import part_key
    from tunekit.plan.preimage import part_bases

    def base(image):
        return part_bases(image, STEPS["tokens"])[0]

    image = {"kind": "tokens", "version": 1, "fields": {"items": [{"a": 1}, {"a": 2}]}, "code": {}, "packages": {},
             "inputs": {"data": ["d1", "d2"], "tokenizer": ["t"]}}  # fmt: skip
    key = base(image)
    longer = {**image, "fields": {"items": [{"a": 1}]}, "inputs": {"data": ["d9"], "tokenizer": ["t"]}}
    assert base(longer) == key, "the other datasets of the step do not count"
    others = [
        part_bases(image, STEPS["tokens"])[1],
        base({**image, "version": 2}),
        base({**image, "packages": {"p": "2"}}),
        base({**image, "inputs": {"data": [], "tokenizer": ["u"]}}),
    ]
    assert len({key, *others}) == 5
    assert len({part_key(b, c) for b in (key, others[0]) for c in ("c", "d")}) == 4


def test_what_names_the_rows_of_a_dataset_makes_no_part_again():
    from tunekit.kinds import TARGETS
    from tunekit.plan.preimage import part_bases

    image = {"kind": "dataset", "version": 2, "fields": {"format": "chat"}, "code": {"data.py": "sha256:1"},
             "packages": {"pyarrow": "20"}, "inputs": {"source": ["s"]}}  # fmt: skip
    (base,) = part_bases(image, TARGETS["dataset"])
    same = {"split": "[:10%]", "shuffle": True, "seed": 3, "limit": 7, "reader": "jsonl", "format": "chat"}
    assert part_bases({**image, "fields": same, "inputs": {"source": ["t"]}}, TARGETS["dataset"]) == [base]
    for change in ({"fields": {"format": "rows"}}, {"code": {"data.py": "sha256:2"}}, {"packages": {"pyarrow": "21"}}):
        assert part_bases({**image, **change}, TARGETS["dataset"]) != [base]
