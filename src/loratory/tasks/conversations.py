"""Conversations as people keep them, brought to one form: what the system says, what came before, what is asked.

Read are OpenAI's `messages`, ShareGPT's `conversations` (from, value), the same with role and content, Alpaca's
instruction, input and output, and TRL's prompt and completion, as texts or as lists of messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from loratory.errors import FieldError, nearest, shown
from loratory.protocols import Input

ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}
ALLOWED = "a list of {role: system, user or assistant, content: text}, or of {from: human or gpt, value: text}"

Message = dict[str, str]


def messages_of(value: Any, field: str) -> list[Message]:
    """Messages with the roles system, user and assistant; raises FieldError with the number of the message."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise FieldError(field, f"the conversation is no JSON: {shown(value)}", allowed=ALLOWED) from None
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise FieldError(field, f"the conversation is {shown(value)}", allowed=ALLOWED)
    return [_message(one, number, field) for number, one in enumerate(value, 1)]


def _message(value: Any, number: int, field: str) -> Message:
    if not isinstance(value, Mapping):
        raise FieldError(field, f"message {number} is {shown(value)}", allowed=ALLOWED)
    role = value.get("role", value.get("from"))
    content = _text(value.get("content", value.get("value")))
    if not isinstance(role, str) or role.casefold() not in ROLES:
        raise FieldError(
            field,
            f"message {number} is from {shown(role)}{nearest(str(role), ROLES)}",
            allowed=", ".join(ROLES),
            remedy="rename the role, or leave the message out",
        )
    if content is None:
        raise FieldError(field, f"message {number} says {shown(content)}", allowed="text")
    return {"role": ROLES[role.casefold()], "content": content}


def _text(content: Any) -> str | None:
    """Text, or the text of OpenAI's parts where all of them are text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence) or not content:
        return None
    parts = [text for part in content if isinstance(part, Mapping) and isinstance(text := part.get("text"), str)]
    return "".join(parts) if len(parts) == len(content) else None


def input_of(messages: Sequence[Message], field: str) -> Input:
    """An input from the messages that lead to an answer; raises FieldError where they do not take turns."""
    system, rest = _leading(messages)
    for number, (message, role) in enumerate(zip(rest, ("user", "assistant") * len(rest), strict=False), 1):
        if message["role"] != role:
            raise FieldError(
                field,
                f"message {number + len(messages) - len(rest)} is from the {message['role']} where the {role} "
                "has the word",
                allowed="system first if at all, then user and assistant in turn",
                remedy="join or remove messages so that they take turns",
            )
    if len(rest) % 2 == 0:
        raise FieldError(field, "the conversation asks nothing", allowed="a message of the user before the answer")
    made: dict[str, Any] = {"prompt": rest[-1]["content"]}
    if system:
        made["system"] = system
    return made | ({"history": [dict(message) for message in rest[:-1]]} if len(rest) > 1 else {})


def _leading(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    """What the system says at the beginning, and the other messages."""
    first = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    return "\n\n".join(message["content"] for message in messages[:first]), messages[first:]


def split_answer(messages: Sequence[Message], field: str) -> tuple[Input, str | None]:
    """The input, and what the assistant said last; None where the user has the last word."""
    if messages[-1]["role"] != "assistant":
        return input_of(messages, field), None
    return input_of(messages[:-1], field), messages[-1]["content"]


def messages_from(input: Input) -> list[Message]:
    """The conversation of an input, its system message first where it has one."""
    system = [{"role": "system", "content": str(input["system"])}] if input.get("system") else []
    return [*system, *map(dict, input.get("history", ())), {"role": "user", "content": str(input["prompt"])}]
