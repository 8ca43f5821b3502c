"""The history's newest line of a label, as `read` would find it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tunekit.build import history
from tunekit.plan.state import State

KEY = "sha256:" + "a" * 64
LABELS = ["dataset:a", "dataset:a#fetch", "dataset:ab", "run:a", 'odd "quote\\', "ü"]


@given(st.lists(st.sampled_from([*LABELS, "torn", "odd"]), max_size=12), st.booleans())
def test_last_is_the_last_that_read_finds(tmp_path_factory, written, ends):
    root = tmp_path_factory.mktemp("project")
    (root / ".tunekit").mkdir()
    for i, label in enumerate(written):
        if label == "torn":
            with open(history.path(root), "a") as file:
                file.write('{"label": "dataset:a", "key": \n')
        elif label == "odd":
            with open(history.path(root), "a") as file:
                file.write('{"label": "run:a"}\n')
        else:
            history.append(root, label, {"key": KEY, "attempt": str(i), "outputs": {"main": KEY}}, "built")
    if written and not ends:  # the last write was cut off before its end of line
        text = history.path(root).read_text()
        history.path(root).write_text(text[:-1])
    lines = history.read(root)
    newest = history.Newest(root)
    for label in LABELS:
        assert newest.of(label) == next((x for x in reversed(lines) if x["label"] == label), None)


def test_a_pen_goes_on_in_a_new_file_when_the_old_one_is_gone(tmp_path):
    pen = history.Pen(tmp_path)
    record = {"key": KEY, "attempt": "1", "outputs": {"main": KEY}}
    pen.append("dataset:a", record, "built")
    history.path(tmp_path).unlink()
    pen.append("dataset:ab", record, "built")
    pen.append("run:a", record, "built")
    pen.close()
    assert [line["label"] for line in history.read(tmp_path)] == ["dataset:ab", "run:a"]


def test_what_tunekit_makes_in_a_project_is_not_for_its_repository(tmp_path):
    history.append(tmp_path, "run:a", {"key": KEY, "attempt": "1", "outputs": {"main": KEY}}, "built")
    ignore = tmp_path / ".tunekit" / ".gitignore"
    assert ignore.read_text() == "*\n"
    ignore.write_text("# mine\n")
    state = State(tmp_path)
    state.dirty = True
    state.save()
    assert ignore.read_text() == "# mine\n" and (tmp_path / ".tunekit" / "state").is_dir()
