"""How two answers compare, under TRL's names for it."""

from __future__ import annotations

import torch


def compared(
    chosen_rewards_B: torch.Tensor, rejected_rewards_B: torch.Tensor, chosen_B: torch.Tensor, rejected_B: torch.Tensor
) -> dict[str, tuple[torch.Tensor, int]]:
    """Sums over B pairs, and B. Equal rewards are no right answer."""
    count = len(chosen_B)
    values = {
        "rewards/chosen": chosen_rewards_B,
        "rewards/rejected": rejected_rewards_B,
        "rewards/accuracies": (chosen_rewards_B > rejected_rewards_B).float(),
        "rewards/margins": chosen_rewards_B - rejected_rewards_B,
        "logps/chosen": chosen_B,
        "logps/rejected": rejected_B,
    }
    return {name: (value.detach().sum(), count) for name, value in values.items()}
