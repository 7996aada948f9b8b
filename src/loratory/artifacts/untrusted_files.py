"""Files of strangers: what they are and how large they are is seen before they are opened or allocated for."""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loratory.errors import ArtifactError

MAX_JSON_BYTES = 96 * 2**20  # bytes of a JSON file: the largest tokenizer.json of a known model has about 35 MB
MAX_JSON_SEPARATORS = (
    6_000_000  # commas and opening brackets of a JSON file: each stands for a value of up to 100 bytes
)
MAX_CONFIG_DEPTH = 32  # of a configuration
MAX_CONFIG_VALUES = 600_000  # of a configuration: 100,000 labels are 200,000
MAX_NUMBER = 10**40  # a tokenizer without a limit has a model_max_length of 1e30
FILE_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def describe_irregular_file(file: Path) -> str | None:
    """What a path is instead of a regular file ("a named pipe", ...); None where it is one. Nothing is opened.

    Raises OSError where there is nothing, or where it may not be seen.
    """
    mode = file.stat().st_mode
    return None if stat.S_ISREG(mode) else next((name for is_it, name in FILE_KINDS if is_it(mode)), "no regular file")


def check_regular_file(file: Path) -> int:
    """The size of a regular file that can be read, in bytes. Raises ArtifactError for anything else.

    A link counts as what it leads to: folders of a hub's cache are made of links.
    """
    try:
        kind = describe_irregular_file(file)
        size = file.stat().st_size
    except OSError as problem:
        what = "a link that leads nowhere" if file.is_symlink() else f"it cannot be read ({problem.strerror})"
        raise _make_unreadable_error(what, file) from problem
    if kind is not None:
        raise _make_unreadable_error(f"this is {kind}", file)
    if not os.access(file, os.R_OK):
        raise _make_unreadable_error("it cannot be read (Permission denied)", file)
    return size


def _make_unreadable_error(what: str, file: Path) -> ArtifactError:
    return ArtifactError(what, where=str(file), allowed="a regular file", remedy="remove it, or put the file there")


def read_json(file: Path, max_bytes: int = MAX_JSON_BYTES) -> Any:
    """The value of a JSON file; raises ArtifactError for what is none, or is larger than any such file has to be."""
    check_json_size(check_regular_file(file), file, max_bytes)
    try:
        with file.open("rb") as handle:
            data = handle.read(max_bytes + 1)
    except OSError as problem:
        raise _make_unreadable_error(f"it cannot be read ({problem.strerror})", file) from problem
    return parse_json(data, file)


def check_json_size(size: int, file: Path, max_bytes: int = MAX_JSON_BYTES) -> None:
    """Raise ArtifactError for a JSON file that is larger than any such file has to be."""
    if size > max_bytes:
        raise ArtifactError(f"the file has {size:,} bytes", where=str(file), allowed=f"at most {max_bytes:,} bytes")


def parse_json(data: bytes, file: Path) -> Any:
    """The value of a JSON file's bytes; raises ArtifactError."""
    try:
        if sum(data.count(sign) for sign in (b",", b"[", b"{")) > MAX_JSON_SEPARATORS:
            raise ArtifactError(
                "the file holds too many values", where=str(file), allowed=f"at most {MAX_JSON_SEPARATORS:,}"
            )
        return json.loads(data.decode("utf-8"))
    except RecursionError:
        raise ArtifactError("not JSON: it is nested too deeply", where=str(file)) from None
    except ValueError as problem:
        raise ArtifactError(f"not JSON: {str(problem)[:200]}", where=str(file), allowed="JSON in UTF-8") from problem


def as_json_object(value: object, file: Path) -> dict[str, Any]:
    """The value that a JSON file holds. Raises ArtifactError where it is no object."""
    if not isinstance(value, dict):
        raise ArtifactError(f"it holds {_describe_type(value)}", where=str(file), allowed="a JSON object: {...}")
    return value


def check_config_values(value: object, where: str) -> None:
    """Raise ArtifactError for values that no configuration has: too deep, too many, half characters, NaN."""
    values = 0
    for depth, key, one in _walk_values(value):
        values += 1
        if depth > MAX_CONFIG_DEPTH or values > MAX_CONFIG_VALUES:
            raise ArtifactError(
                f"it is nested deeper than {MAX_CONFIG_DEPTH} levels"
                if depth > MAX_CONFIG_DEPTH
                else f"it has more than {MAX_CONFIG_VALUES:,} values",
                where=where,
                allowed="a configuration that save_pretrained wrote",
            )
        if isinstance(one, float) and not math.isfinite(one):
            raise ArtifactError(f"{key or 'a value'} is {one}", where=where, allowed="finite numbers")
        if isinstance(one, int) and abs(one) > MAX_NUMBER:
            raise ArtifactError(f"{key or 'a number'} has over 40 digits", where=where, allowed="numbers of 64 bits")
        if isinstance(one, str) and not _is_text(one):
            raise ArtifactError(
                f"{key or 'a text'} holds half of a surrogate pair", where=where, allowed="Unicode text"
            )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _walk_values(value: object) -> Iterator[tuple[int, str, Any]]:
    """Every value below one: its depth, the last key above it, itself; keys are values too."""
    waiting: list[tuple[int, str, Any]] = [(0, "", value)]
    while waiting:
        depth, key, one = waiting.pop()
        yield depth, key, one
        if isinstance(one, Mapping):
            for name, inner in one.items():
                yield depth, "a key", name
                waiting.append((depth + 1, name[:60].encode("utf-8", "replace").decode(), inner))
        elif isinstance(one, list):
            waiting += [(depth + 1, key, inner) for inner in one]


def _describe_type(value: object) -> str:
    return {list: "a list", str: "a text", bool: "a truth value", type(None): "null"}.get(type(value), "a number")
