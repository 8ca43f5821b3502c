"""What acts on views over lengths re-tokenizes nothing: a real build, then every such setting at once and alone."""

import pytest
from outside import TRAINED

RUN = TRAINED.replace("DATA", '{ dataset = "dataset:a", train_on = "all" }')
SETTINGS = [
    "packing = true",
    "padding_free = true",
    "group_by_length = true",
    "sequence_len = 64",
    'overlong = "split"',
    "batch_size = 4",
    "micro_batch_size = 2",
    "seed = 7",
    "learning_rate = 1e-3",
    'packing = true\nsequence_len = 64\noverlong = "truncate"\nbatch_size = 2\nseed = 3\nmax_steps = 2',
]


def test_views_retokenize_nothing(project):
    project.rows("a.jsonl", [{"text": f"line {i} of the only one"} for i in range(30)])
    project.manifest(RUN)
    done = project.build("run:x#tokens")
    assert "run:x#tokens" in done.ran, done.err
    for setting in SETTINGS:
        project.manifest(RUN + "".join(f"    {line}\n" for line in setting.split("\n")))
        done = project.build("run:x#tokens")
        assert (done.code, done.ran) == (0, []), (setting, done.err)


@pytest.mark.parametrize(
    ("pair", "key"),
    [
        ("packing = true\n    padding_free = true", "padding_free"),
        ("packing = true\n    group_by_length = true", "group_by_length"),
        ("padding_free = true\n    group_by_length = true", "group_by_length"),
    ],
)
def test_ways_against_padding_exclude_each_other(project, pair, key):
    project.rows("a.jsonl", [{"text": "line"}])
    project.manifest(RUN + f"    {pair}\n")
    done = project.build("run:x#tokens")
    assert done.code == 2 and key in done.err and "take one" in done.err
