"""Conversations as people keep them, brought to one form: what the system says, what came before, what is asked.

Read are OpenAI's `messages`, ShareGPT's `conversations` (from, value), the same with role and content, Alpaca's
instruction, input and output, and TRL's prompt and completion, as texts or as lists of messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from loratory.errors import FieldError, format_value, suggest_nearest
from loratory.protocols import JSON, Input

ROLES: Mapping[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "ai": "assistant",
}
ALLOWED_MESSAGES = "a list of {role: system, user or assistant, content: text}, or of {from: human or gpt, value: text}"
TOOL_ROLES = frozenset(
    "tool tools function function_call function_response tool_call tool_response observation ipython".split()
)
TOOL_REMEDY = (
    "tools are not called here, and not learnt: leave such rows out, or write what the tool said into the message of "
    "the user and remove the messages of the tool"
)

ChatMessage = dict[str, str]


def parse_messages(value: JSON, field: str) -> list[ChatMessage]:
    """Messages with the roles system, user and assistant; raises FieldError with the number of the message."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise FieldError(
                field, f"the conversation is no JSON: {format_value(value)}", allowed=ALLOWED_MESSAGES
            ) from None
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise FieldError(
            field,
            f"the conversation is {format_value(value)}",
            allowed=ALLOWED_MESSAGES,
            remedy="where this column holds text, it is a prompt or an answer: data: prompt: COLUMN (or completion:)",
        )
    return [_parse_message(one, number, field) for number, one in enumerate(value, 1)]


def is_message_list(value: object) -> bool:
    """Whether a value is a list of messages, in any of the forms that are read."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and bool(value)
        and all(isinstance(one, Mapping) and _get_first(one, "role", "from") is not None for one in value)
    )


def _parse_message(value: JSON, number: int, field: str) -> ChatMessage:
    if not isinstance(value, Mapping):
        raise FieldError(field, f"message {number} is {format_value(value)}", allowed=ALLOWED_MESSAGES)
    role = _get_first(value, "role", "from")
    known = ROLES.get(role.strip().casefold()) if isinstance(role, str) else None
    if known is None or any(value.get(key) for key in ("tool_calls", "function_call")):
        raise _build_role_error(value, role, known, number, field)
    return {"role": known, "content": _parse_content(_get_first(value, "content", "value"), known, number, field)}


def _build_role_error(value: Mapping[str, JSON], role: JSON, known: str | None, number: int, field: str) -> FieldError:
    calls = next((key for key in ("tool_calls", "function_call") if value.get(key)), "")
    if known is not None:
        return FieldError(
            field, f"message {number} calls a tool ({calls})", allowed=ALLOWED_MESSAGES, remedy=TOOL_REMEDY
        )
    return FieldError(
        field,
        f"message {number} is from {format_value(role)}{suggest_nearest(str(role), ROLES)}",
        allowed=", ".join(ROLES),
        remedy=TOOL_REMEDY if str(role).casefold() in TOOL_ROLES else "rename the role, or leave the message out",
    )


def _parse_content(content: JSON, role: str, number: int, field: str) -> str:
    """What a message says. What an assistant says may be JSON that was not written as text."""
    text, strange = _join_text_parts(content)
    if text is not None:
        return text
    if role == "assistant" and content is not None and not strange:
        return json.dumps(content, ensure_ascii=False)
    raise FieldError(
        field,
        f"message {number} holds a part of type {format_value(strange)}"
        if strange
        else f"message {number} says {format_value(content)}",
        allowed="text, or parts of it: [{type: text, text: ...}]",
        remedy="pictures, sound and files are not read: leave such rows out" if strange else "fill it in, or remove it",
    )


def _join_text_parts(content: JSON) -> tuple[str | None, str]:
    """Text, or the text of OpenAI's parts where all of them are text; else None, and the type of a part that is not."""
    if isinstance(content, str):
        return content, ""
    if not isinstance(content, Sequence) or not content:
        return None, ""
    parts = [text for part in content if isinstance(part, Mapping) and isinstance(text := part.get("text"), str)]
    if len(parts) == len(content):
        return "".join(parts), ""
    types = [str(part["type"]) for part in content if isinstance(part, Mapping) and part.get("type") is not None]
    return None, next((kind for kind in types if not kind.endswith("text")), "")


def _get_first(value: Mapping[str, JSON], *names: str) -> JSON:
    """The first that is given; tables fill up with null what a row does not have."""
    return next((value[name] for name in names if value.get(name) is not None), None)


def build_input(messages: Sequence[ChatMessage], field: str) -> Input:
    """An input from the messages that lead to an answer; raises FieldError where they do not take turns."""
    system, rest = _split_system(messages)
    for number, (message, role) in enumerate(zip(rest, ("user", "assistant") * len(rest), strict=False), 1):
        if message["role"] != role:
            raise _build_turn_error(message["role"], role, number, len(messages) - len(rest), field)
    if len(rest) % 2 == 0:
        raise FieldError(
            field,
            "the conversation asks nothing",
            allowed="a message of the user before the answer",
            remedy="add it; join messages of the assistant that stand one behind another into one",
        )
    made: dict[str, JSON] = {"prompt": rest[-1]["content"]}
    if system:
        made["system"] = system
    return made | ({"history": [dict(message) for message in rest[:-1]]} if len(rest) > 1 else {})


def _build_turn_error(found: str, expected: str, number: int, before: int, field: str) -> FieldError:
    """For the `number`-th message behind `before` of the system."""
    if found == "system":
        remedy = "move what the system says to the beginning, or into the message of the user behind it"
    elif number == 1:
        remedy = "remove the greeting of the assistant, or write it into the message of the system"
    else:
        remedy = f"join messages {number + before - 1} and {number + before} into one, or remove one of them"
    return FieldError(
        field,
        f"message {number + before} is from the {found} where the {expected} has the word",
        allowed="system first if at all, then user and assistant in turn",
        remedy=remedy,
    )


def _split_system(messages: Sequence[ChatMessage]) -> tuple[str, Sequence[ChatMessage]]:
    """What the system says at the beginning, and the other messages."""
    first = next((i for i, message in enumerate(messages) if message["role"] != "system"), len(messages))
    said = [message["content"] for message in messages[:first]]
    return "\n\n".join(text for text in said if text.strip()), messages[first:]


def split_answer(messages: Sequence[ChatMessage], field: str) -> tuple[Input, str | None]:
    """The input, and what the assistant said last; None where the user has the last word."""
    if messages[-1]["role"] != "assistant":
        return build_input(messages, field), None
    return build_input(messages[:-1], field), messages[-1]["content"]


def check_message_weight(given: JSON, field: str) -> None:
    """Raises FieldError where the last message of a conversation is not to be learnt (OpenAI's `weight: 0`)."""
    weight = given[-1].get("weight") if is_message_list(given) else None
    if weight is None or (not isinstance(weight, bool) and weight == 1):
        return
    raise FieldError(
        field,
        f"the last answer has the weight {format_value(weight)}, and only the last answer of a conversation is learnt",
        allowed="weight: 1, or none",
        remedy="remove the row, or what stands behind its last answer of weight 1",
    )


def build_messages(input: Input) -> list[ChatMessage]:
    """The conversation of an input, its system message first where it has one."""
    system = [{"role": "system", "content": str(input["system"])}] if input.get("system") else []
    return [*system, *map(dict, input.get("history", ())), {"role": "user", "content": str(input["prompt"])}]
