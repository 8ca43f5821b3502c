"""How well steps are told apart, over all of them: what a share of right answers hides where most steps are right."""

from __future__ import annotations

import numpy as np


def balanced_accuracy(scores: np.ndarray, right: np.ndarray) -> float | None:
    """Mean of the shares of right steps with a score above 0 and of wrong ones with another; None without either."""
    if right.all() or not right.any():
        return None
    return float(((scores[right] > 0).mean() + (scores[~right] <= 0).mean()) / 2)


def auc(scores: np.ndarray, right: np.ndarray) -> float | None:
    """How often a right step has a higher score than a wrong one, equal scores counting half; None without either."""
    rights, wrongs = int(right.sum()), int((~right).sum())
    if not rights or not wrongs:
        return None
    _, place, many = np.unique(scores, return_inverse=True, return_counts=True)
    rank = np.cumsum(many) - (many - 1) / 2  # of equal scores, the middle one
    return float((rank[place][right].sum() - rights * (rights + 1) / 2) / (rights * wrongs))
