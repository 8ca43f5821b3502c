"""One conversation as its template printed it: what all who look for places in the text need."""

from __future__ import annotations

from typing import NamedTuple

from tunekit.data.columns import Row
from tunekit.data.conversation import Conversation
from tunekit.data.regions import Region
from tunekit.data.template import ChatTemplate, Trace


class Rendered(NamedTuple):
    """`messages`: the variant of the conversation's that the template took. `regions`: which characters each
    printed."""

    template: ChatTemplate
    conversation: Conversation
    messages: list[Row]
    trace: Trace
    regions: list[Region | None]

    def render(self, messages: list[Row]) -> str:
        return self.template.trace(messages, tools=self.conversation.tools).text
