"""`[project] environment = "strict"`: numeric settings in the keys, too, and nothing else."""

from __future__ import annotations

from keys_of import SAMPLE, keys_of, manifest_of, write_sample

STRICT = SAMPLE["tunekit.toml"].replace("[project]", '[project]\nenvironment = "strict"')


def keys(root, text: str) -> dict[str, str]:
    root.mkdir(exist_ok=True)
    write_sample(root)
    (root / "tunekit.toml").write_text(text)
    return keys_of(manifest_of(root), by="label")


def differing(one: dict[str, str], two: dict[str, str]) -> list[str]:
    return [label for label in one if one[label] != two[label]]


def with_sft(text: str, line: str) -> str:
    return text.replace("[run.sft]", f"[run.sft]\n{line}")


def test_numeric_settings_are_in_the_key_only_there(tmp_path):
    plain, strict = SAMPLE["tunekit.toml"], STRICT
    for line in ("gradient_checkpointing = true", 'attn = "eager"'):
        assert differing(keys(tmp_path / "a", plain), keys(tmp_path / "b", with_sft(plain, line))) == []
        assert differing(keys(tmp_path / "a", strict), keys(tmp_path / "b", with_sft(strict, line))) == ["run:sft"]


def test_operational_settings_never_are_and_defaults_are_left_out(tmp_path):
    plain = SAMPLE["tunekit.toml"]
    assert differing(keys(tmp_path / "a", STRICT), keys(tmp_path / "b", with_sft(STRICT, "logging_steps = 3"))) == []
    told = differing(keys(tmp_path / "a", plain), keys(tmp_path / "b", STRICT))
    declared = [label for label in told if not label.startswith(("run:", "eval:"))]
    assert declared == [], "what has no numeric setting keeps its key"


def test_another_mode_is_refused(project):
    project.manifest('[project]\nname = "p"\nenvironment = "strickt"\n')
    (problem,) = project.problems()
    assert (problem.key, problem.line) == ("environment", 3) and "strict" in problem.hint + problem.message
