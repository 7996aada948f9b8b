"""What a row's value means as a label and as a group: the same for every task, whatever type the file gave it.

A falsy value is not a missing one: 0 and false are labels, and groups. Tables and JSON write one thing in several
types (1 and 1.0, "true" and true); here they become one text.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from loratory.errors import FieldError, format_value

ALLOWED_LABEL = "a non-empty string, a whole number, true or false"
ALLOWED_GROUP = "text, a number, true or false; empty where a row belongs to no group"


def is_missing(value: object) -> bool:
    """Whether nothing was given: None, NaN, or text without a character that is no white space."""
    return value is None or (isinstance(value, str) and not value.strip()) or _is_nan(value)


def parse_group(value: object) -> str:
    """The name of a row's group; "" where it has none. Raises FieldError for lists and objects."""
    if is_missing(value):
        return ""
    if isinstance(value, (Mapping, Sequence)) and not isinstance(value, str):
        raise FieldError(
            "group",
            f"the group is {format_value(value)}",
            allowed=ALLOWED_GROUP,
            remedy="choose a column with one value for each row (data: group: COLUMN), or reach into it: COLUMN.KEY",
        )
    return _to_text(value)


def parse_label(value: object, field: str = "label") -> str:
    """A label as text, without white space around it. Raises FieldError for what is missing, and for what is none."""
    if is_missing(value):
        problem, remedy = f"the label is {_describe_missing(value)}", "fill it in or remove the row"
    elif isinstance(value, Mapping):
        problem, remedy = (
            f"the label is an object: {format_value(value)}",
            "name the key that holds it: data: label: COLUMN.KEY",
        )
    elif isinstance(value, Sequence) and not isinstance(value, str):
        return _parse_label_list(value, field)
    elif isinstance(value, float) and not value.is_integer():
        problem = f"the label is {format_value(value)}, a number with a fraction"
        remedy = "if it names a class, write it as text in quotes; amounts cannot be labels: make ranges of them"
    else:
        return _to_text(value).strip()
    raise FieldError(field, problem, allowed=ALLOWED_LABEL, remedy=remedy)


def _parse_label_list(values: Sequence[object], field: str) -> str:
    """The only one of a list; a text with several labels has no answer of one label."""
    if len(values) == 1:
        return parse_label(values[0], field)
    several = f"the label is a list of {len(values)}: {format_value(list(values))}"
    raise FieldError(
        field,
        f"{several} (multi-label)" if len(values) > 1 else several,
        allowed=f"one label for each text: {ALLOWED_LABEL}, or a list of one of them",
        remedy="keep the label that matters most in each row, or make one task for each label, with the labels yes "
        "and no"
        if len(values) > 1
        else "fill it in or remove the row; where no label is an answer too, give it a name, such as none",
    )


def _to_text(value: object) -> str:
    """One text for one value, whatever its type: true, 3 for 3.0."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _describe_missing(value: object) -> str:
    return f"{format_value(value)}, which is empty" if isinstance(value, str) else "missing"
