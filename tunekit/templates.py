"""Chat templates that have a name; their text is in `data/templates/`."""

from __future__ import annotations

from tunekit.errors import nearest

# Name → the markers it prints. A vocabulary that is trained for it has them as tokens that text never merges into.
TEMPLATES = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "hermes": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "mistral": ("[INST]", "[/INST]"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "phi3": ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>"),
    "zephyr": ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"),
    "alpaca": (),
}


def template_fault(choice: str) -> tuple[str, str] | None:
    """What is wrong with a `chat_template` and the way out: it is a name, a `.jinja` file, or Jinja text itself."""
    if not choice or choice in TEMPLATES or choice.endswith(".jinja") or "{" in choice:
        return None
    message = f"`{choice}` is no chat template: neither a name, nor a `.jinja` file, nor Jinja text"
    return message, nearest(choice, list(TEMPLATES))
