"""The frontier against an oracle that looks at every label each time it is asked."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tunekit.build.frontier import Frontier

WAITING, HELD, STARTED, ENDED, DROPPED = "waiting", "held", "started", "ended", "dropped"


class Oracle:
    """The same in words: every answer is computed anew from what each label is and needs."""

    def __init__(self, order: list[str], needs: dict[str, list[str]]) -> None:
        self.order, self.needs = order, needs
        self.is_ = dict.fromkeys(order, WAITING)

    def ready(self) -> list[str]:
        """What may start now, in the plan's order. A need outside the plan is there already."""
        met = [x for x in self.order if all(self.is_.get(n, ENDED) == ENDED for n in self.needs[x])]
        return [x for x in met if self.is_[x] == WAITING]

    def left(self) -> list[str]:
        return [x for x in self.order if self.is_[x] in (WAITING, HELD)]

    def above(self, label: str) -> set[str]:
        """All that needs a label, directly or not."""
        out: set[str] = set()
        for x in self.order:  # needs come first, so one pass is enough
            if any(n == label or n in out for n in self.needs[x]):
                out.add(x)
        return out


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[str], dict[str, list[str]]]:
    """An order in which needs come first, some of them outside of it (fresh already)."""
    size = draw(st.integers(1, 7))
    names = draw(st.permutations([f"d{i}" for i in range(size)]))
    needs = {x: draw(st.lists(st.sampled_from(names[:i]), unique=True)) if i else [] for i, x in enumerate(names)}
    order = [x for x in names if draw(st.integers(0, 4))]
    return order, needs


def agree(frontier: Frontier, oracle: Oracle) -> None:
    assert bool(frontier) == bool(oracle.left())
    ready = oracle.ready()
    for label in oracle.order:
        assert frontier.waits({label}) == (label in ready), label
    assert frontier.waits(set(oracle.order)) == bool(ready)


@settings(max_examples=80, deadline=None)
@given(plans(), st.data())
def test_it_is_its_oracle(plan, data) -> None:
    """Any order of starts, refusals, ends and failures."""
    order, needs = plan
    frontier, oracle = Frontier(order, needs.__getitem__), Oracle(order, needs)
    agree(frontier, oracle)
    while oracle.left() or STARTED in oracle.is_.values():
        held = [x for x in order if oracle.is_[x] == HELD]
        running = [x for x in order if oracle.is_[x] == STARTED]
        can = ["pop"] * bool(oracle.ready()) + ["start", "put_back"] * bool(held) + ["end", "fail"] * bool(running)
        outside = [x for x in needs if x not in order]
        if outside and set(oracle.is_.values()) <= {WAITING, DROPPED}:
            can.append("fail outside")
        match data.draw(st.sampled_from(can)):
            case "pop":
                label = frontier.pop()
                assert label == oracle.ready()[0]
                oracle.is_[label] = HELD
            case "start":
                label = data.draw(st.sampled_from(held))
                frontier.started(label)
                oracle.is_[label] = STARTED
            case "put_back":
                some = data.draw(st.lists(st.sampled_from(held), unique=True, min_size=1))
                frontier.put_back(some)
                oracle.is_.update(dict.fromkeys(some, WAITING))
            case "end":
                label = data.draw(st.sampled_from(running))
                frontier.ended(label)
                oracle.is_[label] = ENDED
            case "fail":
                label = data.draw(st.sampled_from(running))
                drop(label, frontier, oracle)
                oracle.is_[label] = DROPPED
            case "fail outside":  # a fresh result that does not pass its gate: known before anything starts
                drop(data.draw(st.sampled_from(outside)), frontier, oracle)
        agree(frontier, oracle)
    assert frontier.pop() is None


def drop(label: str, frontier: Frontier, oracle: Oracle) -> None:
    """What needs a failed label is given up, in the plan's order; what runs or has ended stays as it is."""
    lost = [x for x in oracle.left() if x in oracle.above(label)]
    assert frontier.drop(label) == lost
    oracle.is_.update(dict.fromkeys(lost, DROPPED))


@settings(max_examples=40, deadline=None)
@given(plans())
def test_everything_runs_once_and_after_its_needs(plan) -> None:
    order, needs = plan
    frontier, seen = Frontier(order, needs.__getitem__), []
    while (label := frontier.pop()) is not None:
        frontier.started(label)
        assert all(n in seen or n not in order for n in needs[label])
        seen.append(label)
        frontier.ended(label)
    assert seen == order and not frontier


def test_one_at_a_time_is_the_order_of_the_plan() -> None:
    """`pop` gives the first that may start, not the one that became ready last."""
    needs = {"a": [], "b": ["a"], "c": [], "d": ["b"]}
    frontier = Frontier(list(needs), needs.__getitem__)
    assert [frontier.pop(), frontier.pop(), frontier.pop()] == ["a", "c", None]
    frontier.put_back(["c"])
    frontier.started("a")
    frontier.ended("a")
    assert [frontier.pop(), frontier.pop()] == ["b", "c"]


def test_clear_starts_nothing_more() -> None:
    needs = {"a": [], "b": ["a"], "c": []}
    frontier = Frontier(list(needs), needs.__getitem__)
    label = frontier.pop()
    assert label == "a"
    frontier.started(label)
    frontier.clear()
    assert not frontier and frontier.pop() is None and not frontier.waits({"c"})
    frontier.ended("a")
    assert frontier.pop() is None, "what ends afterwards wakes nobody"
