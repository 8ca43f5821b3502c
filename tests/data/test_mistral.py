"""The named template `mistral` against mistral-common, which encodes conversations without any template.

Needs `pip install mistral-common`; it is not among tunekit's own packages, so without it these tests are skipped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zoo import encode

from tunekit.data.library import template_text
from tunekit.data.template import ChatTemplate
from tunekit.data.vocabulary import Vocabulary, open_vocabulary

pytest.importorskip("mistral_common", reason="mistral-common is not installed")

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    ["\n\nwhat is the sum", " two  of", "é 🙂", "def f(x):\n    return x", "你好"]
)
# mistral-common cuts spaces off the end of an answer, our template prints them.
ANSWERS = WORDS.map(str.rstrip).filter(bool)


class Mistral:
    """Their encoder and their vocabulary, this one with our template."""

    def __init__(self, root: Path) -> None:
        from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
        from transformers import AutoTokenizer

        self.theirs = MistralTokenizer.v3(is_tekken=True)
        source = Path(self.theirs.instruct_tokenizer.tokenizer.file_path)
        (root / "tekken.json").write_bytes(source.read_bytes())
        AutoTokenizer.from_pretrained(root).save_pretrained(root / "fast")
        found = open_vocabulary(root / "fast")
        tokens = {"bos_token": "<s>", "eos_token": "</s>"}
        eos = found.tokenizer.token_to_id("</s>")
        self.vocabulary: Vocabulary = found._replace(
            template=ChatTemplate(template_text("mistral"), tokens), stop_ids=frozenset([eos])
        )

    def encode(self, messages: list[dict[str, Any]]) -> tuple[list[int], list[bool]]:
        """Their tokens, and which of them they encode an assistant's message to."""
        from mistral_common.protocol.instruct.messages import AssistantMessage, UserMessage

        instruct = self.theirs.instruct_tokenizer
        system = messages[0]["content"] if messages[0]["role"] == "system" else None
        turns = messages[1:] if system is not None else messages
        ids, flags = instruct.start(), [False]
        for number, message in enumerate(turns):
            if message["role"] == "user":
                made, *_ = instruct.encode_user_message(
                    UserMessage(content=message["content"]),
                    available_tools=[],
                    is_last=number == 0,  # the system's words stand in the first request, as in our template
                    is_first=number == 0,
                    system_prompt=system if number == 0 else None,
                )
            else:
                made = instruct.encode_assistant_message(AssistantMessage(content=message["content"]), False)
            ids, flags = [*ids, *made], [*flags, *[message["role"] == "assistant"] * len(made)]
        return ids, flags


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Mistral:
    return Mistral(tmp_path_factory.mktemp("tekken"))


@settings(max_examples=60, deadline=None)
@given(
    system=st.none() | WORDS,
    pairs=st.lists(st.tuples(WORDS, ANSWERS), min_size=1, max_size=3),
)
def test_tokens_and_masks_are_mistrals(mistral, system, pairs):
    messages = [] if system is None else [{"role": "system", "content": system}]
    for asked, answered in pairs:
        messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
    encoded = encode(mistral.vocabulary, {"messages": messages})
    ids, flags = mistral.encode(messages)
    assert encoded.input_ids == ids and encoded.labelled == flags
    assert encoded.ended == encoded.turns == len(pairs)
