"""Log-probabilities of a reference policy as an artifact, and the proof that they are of these very rows.

reference.safetensors  `data` [n, k] and, where there are such, `eval_data`: float32, of every row in the order of
                       the run's dataset the summed log-probabilities of its k sequences
reference.json         {"format": 1, "contents": {name: digest of the rows}, "policy": {role: digest}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from tunekit.engine.loading import Loaded, keep_precision
from tunekit.errors import ActionError
from tunekit.protocol import Events, Request

FORMAT = 1
WEIGHTS, INDEX = "reference.safetensors", "reference.json"
Sequence_ = tuple[np.ndarray, np.ndarray]  # input_ids and labels, int64
# Of a sum of log-probabilities, as a share of it (of 1 at least): what other shapes of batches may change.
BOUNDS = {"float32": 1e-4, "bfloat16": 3e-2}


class Scorable(Protocol):
    """Rows of `k` sequences each."""

    rows: np.ndarray  # their numbers in their datasets

    def __len__(self) -> int: ...

    def sequences(self, index: int) -> Sequence[Sequence_]: ...


class Reference(NamedTuple):
    """An opened artifact."""

    logps: dict[str, np.ndarray]
    contents: dict[str, str]
    policy: dict[str, str]

    def of(self, name: str, rows: Scorable) -> np.ndarray:
        """[n, k] of the rows `name`. Raises ActionError `reference-mismatch` unless they are what was scored."""
        found = self.logps.get(name)
        if found is None or len(found) != len(rows):
            was = 0 if found is None else len(found)
            raise mismatch(f"{len(rows)} rows of {name}, and log-probabilities of {was}")
        if self.contents[name] != content_of(rows):
            raise mismatch(f"the rows of {name} are not those that were scored")
        return found


def mismatch(what: str) -> ActionError:
    hint = "this is a fault of tunekit or of its cache: `tunekit build --force` of the #reference step scores them anew"
    return ActionError(f"the reference does not belong to this run: {what}", slug="reference-mismatch", hint=hint)


def reference_of(request: Request, own: bool) -> Reference:
    """The reference of a run. `own`: it is to be the policy that the run begins with.

    Raises ActionError `not-a-reference`, `reference-mismatch`.
    """
    reference = open_reference(request.one("reference").path)
    policy = policy_of(request)
    if own and reference.policy != policy:
        raise mismatch(f"it is of {reference.policy}, and training begins with {policy}")
    return reference


def policy_of(request: Request) -> dict[str, str]:
    """Digests of the weights of a request, by role."""
    return {role: request.one(role).digest for role in ("base", "adapter") if request.inputs.get(role)}


def open_reference(directory: str) -> Reference:
    """Raises ActionError `not-a-reference`."""
    root = Path(directory)
    try:
        body: dict[str, Any] = json.loads((root / INDEX).read_text())
    except (OSError, ValueError) as e:
        raise ActionError(f"{root} has no readable {INDEX}: {e}", slug="not-a-reference") from e
    if body.get("format") != FORMAT:
        raise ActionError(f"{root} is a reference of format {body.get('format')}", slug="not-a-reference")
    return Reference(load_file(root / WEIGHTS), body["contents"], body["policy"])


def write_reference(directory: Path, reference: Reference) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(value) for name, value in reference.logps.items()}, directory / WEIGHTS)
    body = {"format": FORMAT, "contents": reference.contents, "policy": reference.policy}
    (directory / INDEX).write_text(json.dumps(body, indent=2, sort_keys=True) + "\n")


def content_of(rows: Scorable) -> str:
    """A digest of the rows' numbers, tokens and labels, in their order."""
    digest = hashlib.sha256(np.ascontiguousarray(rows.rows, np.int64).tobytes())
    for index in range(len(rows)):
        for ids, labels in rows.sequences(index):
            digest.update(np.array([len(ids)], np.int64).tobytes() + ids.tobytes() + labels.tobytes())
    return f"sha256:{digest.hexdigest()}"


def with_log_probabilities(loaded: Loaded) -> Loaded:
    """The policy with TRL's language-model head that gives log-probabilities of labels without making logits of every
    token: the one its trainers compute with, so that policy and reference are rounded alike. Not documented by TRL."""
    from trl.trainer.utils import add_fused_lm_head

    add_fused_lm_head(loaded.base)
    return loaded


def summed(model: Any, sequences: list[Sequence_], pad_token_id: int, dtype: str) -> torch.Tensor:
    """[B] sums of log-probabilities of the labels. The model is in eval mode and has TRL's head."""
    width = max(len(ids) for ids, _ in sequences)
    ids_BT = torch.full((len(sequences), width), pad_token_id)
    labels_BT, mask_BT = torch.full_like(ids_BT, -100), torch.zeros_like(ids_BT)
    for b, (ids, labels) in enumerate(sequences):
        ids_BT[b, : len(ids)], labels_BT[b, : len(ids)] = torch.from_numpy(ids), torch.from_numpy(labels)
        mask_BT[b, : len(ids)] = 1
    batch = {"input_ids": ids_BT, "attention_mask": mask_BT, "labels": labels_BT}
    device = model.device
    # As the trainer's forward passes of this dtype.
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
        out = model(**{k: v.to(device) for k, v in batch.items()}, use_cache=False, fused_lm_head=True)
    logps_B: torch.Tensor = out.log_probs.float().sum(dim=1).cpu()
    return logps_B


def score(
    loaded: Loaded, rows: Scorable, pad_token_id: int, size: int, done: Callable[[int], None] | None = None
) -> np.ndarray:
    """[n, k] of all rows, `size` of them a forward pass; rows of about one length go together.

    Raises ActionError `not-finite`.
    """
    lengths = [max(len(ids) for ids, _ in rows.sequences(i)) for i in range(len(rows))]
    order = np.argsort(lengths, kind="stable")
    found: np.ndarray | None = None
    for start in range(0, len(order), size):
        mine = order[start : start + size].tolist()
        batch = [rows.sequences(i) for i in mine]
        flat = summed(loaded.model, [s for row in batch for s in row], pad_token_id, loaded.dtype)
        values = flat.reshape(len(mine), -1).numpy()
        if not np.isfinite(values).all():
            row = mine[int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])]
            raise ActionError(f"row {rows.rows[row]}: its log-probability is not finite", slug="not-finite")
        if found is None:
            found = np.zeros((len(rows), values.shape[1]), np.float32)
        found[mine] = values
        if done:
            done(start + len(mine))
    assert found is not None
    return found


def begin(loaded: Loaded, rows: Scorable, logps: np.ndarray, pad_token_id: int, events: Events) -> None:
    """The gate `reference`: the policy as training begins holds a few rows to be as likely as the reference does.

    Called when the trainer is made (its head computes). Raises ActionError `reference-mismatch`.
    """
    keep_precision(loaded)
    few = range(min(4, len(rows)))
    model: Any = loaded.model
    was_training = model.training
    model.eval()
    try:
        sequences = [s for i in few for s in rows.sequences(i)]
        now = summed(model, sequences, pad_token_id, loaded.dtype).numpy().reshape(len(few), -1)
    finally:
        model.train(was_training)
    then = logps[: len(few)]
    largest = float((np.abs(now - then) / np.maximum(1.0, np.abs(then))).max())
    bound = BOUNDS[loaded.dtype]
    passed = bool(largest <= bound)
    events.gate("reference", passed, {"rows": len(few), "difference": largest}, f"<= {bound:g} of the log-probability")
    if not passed:
        raise mismatch(f"the policy at the start differs from it by {largest:.2g} of the log-probability of an answer")
