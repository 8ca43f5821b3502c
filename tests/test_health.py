"""The table of health rules, and what `health = …` makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunekit.bounds import bound, holds
from tunekit.health import FINITE, RULES, changed, fault_of, rules_of

PAGE = Path(__file__).parents[1] / "docs" / "watching.md"


def test_rows_are_whole():
    for rule in RULES:
        assert rule.wanted == FINITE or bound(rule.wanted)
        assert rule.lasting >= 1 and rule.after >= 0 and rule.act in ("warn", "stop")
        assert rule.cause and rule.cure


def test_every_rule_is_on_its_page():
    text = PAGE.read_text(encoding="utf-8")
    for r in RULES:
        methods = ", ".join(r.methods) or "all"
        row = f"| `{r.name}` | {methods} | `{r.metric}` | `{r.wanted}` | {r.after} | {r.lasting} | {r.act} |\n"
        assert row in text, row


def test_a_method_has_its_own_rows():
    sft, grpo, dpo = ({r.name: r for r in rules_of(m, "")} for m in ("sft", "grpo", "dpo"))
    assert sft["exploding-gradient"].wanted == "<= 100" and grpo["exploding-gradient"].wanted == "<= 10"
    assert "constant-reward" not in sft and "negative-margins" in dpo and "random-loss" not in dpo
    assert grpo["frozen-gradient"].lasting > sft["frozen-gradient"].lasting
    assert [r.name for r in rules_of("rows", "") if r.act == "stop"] == ["not-finite", "frozen-gradient"]


def test_one_word_for_all():
    assert {r.act for r in rules_of("sft", "stop")} == {"stop"}
    assert {r.act for r in rules_of("sft", "off")} == {"off"}


def test_a_table_changes_rows():
    said = {"exploding-gradient": "< 50 after 20 for 2 stop", "not-finite": "warn", "overfit": "for 9"}
    found = {r.name: r for r in rules_of("sft", said)}
    grad = found["exploding-gradient"]
    assert (grad.wanted, grad.after, grad.lasting, grad.act) == ("< 50", 20, 2, "stop")
    assert found["not-finite"].act == "warn" and found["overfit"].lasting == 9
    assert found["frozen-gradient"] == next(r for r in rules_of("sft", "") if r.name == "frozen-gradient")


@pytest.mark.parametrize("text", ["", "  ", "50", "< x", "soon", "< 50 for 0", "after", "stop warn", "< 1e"])
def test_what_changes_no_rule(text: str):
    with pytest.raises(ValueError):
        changed(RULES[0], text)
    fault = fault_of("sft", {"overfit": text})
    assert fault and "overfit" in fault[0]


def test_faults_name_what_is_there():
    assert fault_of("sft", {"exploding-gradeint": "off"})[1] == "did you mean `exploding-gradient`?"
    assert fault_of("sft", {"constant-reward": "off"}) and fault_of("rows", {"constant-reward": "off"}) is None
    assert fault_of("sft", "halt") and fault_of("sft", "") is None


def test_a_declaration_is_checked(project):
    project.one_run("""
        health = { grad = "< 5" }
        report_to = ["tensorbord"]
        profile = { steps = 0 }
    """)
    found = {(p.slug, p.key): p for p in project.problems()}
    assert "tensorboard" in found["wrong-type", "report_to"].hint
    toml = project.root / "tunekit.toml"
    toml.write_text(toml.read_text().replace("tensorbord", "tensorboard"))
    found = {(p.slug, p.key): p for p in project.problems()}
    assert {("bad-value", "health"), ("bad-value", "profile")} == set(found)


@given(st.sampled_from(["<", "<=", ">", ">=", "=="]), st.floats(-1e6, 1e6), st.integers(0, 999), st.integers(1, 99),
       st.sampled_from(["warn", "stop", "off"]))  # fmt: skip
def test_what_is_written_is_what_is_read(op, limit, after, lasting, act):
    rule = changed(RULES[0], f"{op} {limit!r} after {after} for {lasting} {act}")
    assert bound(rule.wanted) == (op, limit) and (rule.after, rule.lasting, rule.act) == (after, lasting, act)
    assert holds((op, limit), limit) == (op in ("<=", ">=", "=="))
