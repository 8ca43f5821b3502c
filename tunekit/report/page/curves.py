"""The metrics histories of one or of several runs as charts: what belongs together in one, and in what order."""

from __future__ import annotations

from typing import Any

from tunekit.health import OWN
from tunekit.report.page.chart import Curve, chart

_FIRST = ("loss", *dict.fromkeys(name for names in OWN.values() for name in names), "grad_norm", "learning_rate")
_LAST = ("tokens", "supervised_tokens", "padding_tokens", "num_tokens")
History = list[dict[str, Any]]


def curves_of(histories: dict[str, History]) -> str:
    """One chart a metric, evaluation beside training; a colour a run. `histories`: name of a run → its points."""
    metrics = {name for points in histories.values() for point in points for name in point if name != "step"}
    charts = [chart(name, _curves(name, histories)) for name in sorted({_plain(m) for m in metrics}, key=_place)]
    body = "\n".join(filter(None, charts))
    return f'<div class="curves">{body}</div>' if body else ""


def _plain(metric: str) -> str:
    return metric.removeprefix("eval_")


def _place(metric: str) -> tuple[int, str]:
    if metric in _FIRST:
        return _FIRST.index(metric), ""
    return (len(_FIRST) + (metric in _LAST), metric)


def _curves(metric: str, histories: dict[str, History]) -> list[Curve]:
    """A run's own colour; where there is one run only, another one for its evaluations."""
    out = []
    for i, (run, points) in enumerate(histories.items()):
        for j, name in enumerate((metric, f"eval_{metric}")):
            found = [(float(p["step"]), float(p[name])) for p in points if _is_number(p.get(name))]
            if found:
                several = len(histories) > 1
                title = f"{run} {name}" if several else name
                out.append(Curve(title, found, i if several else j))
    return out


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
