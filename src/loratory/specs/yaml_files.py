"""A spec's file: its values, the line of every key, and errors that name the line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml.error import YAMLError

from loratory.artifacts.untrusted_files import describe_irregular_file
from loratory.errors import SpecError, first_line, format_value
from loratory.specs.yaml_lines import KeyPath, find_key_lines
from loratory.specs.yaml_values import build_value, compose_yaml

MAX_SPEC_BYTES = 4 * 2**20  # bytes of a spec: 70,000 lines


def load_yaml(file: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """A YAML file's mapping and the line of every key; raises SpecError."""
    return parse_yaml(_read_text(file), file)


def parse_yaml(text: str, file: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """As `load_yaml`, from a text that is, or is to become, a file. Raises SpecError."""
    try:
        node = compose_yaml(text)
        values, lines = build_value(node), find_key_lines(node)
    except YAMLError as problem:
        raise _make_yaml_error(file, problem) from None
    if not isinstance(values, dict):
        found = "nothing" if values is None else format_value(values)
        raise SpecError(
            f"a spec is a mapping of keys, and this file holds {found}", where=str(file), remedy="write key: value"
        )
    return values, lines


def _read_text(file: Path) -> str:
    try:
        return _read_bytes(file).decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecError("this spec does not exist", where=str(file), remedy="loratory init DATA writes one") from None
    except OSError as problem:
        raise SpecError(
            f"cannot read the spec: {problem.strerror}", where=str(file), remedy="check the path and its permissions"
        ) from None
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        raise SpecError(
            f"byte {problem.start} (0x{problem.object[problem.start]:02x}) is not UTF-8",
            where=f"{file}:{line}",
            remedy="save the file as UTF-8",
        ) from None


def _read_bytes(file: Path) -> bytes:
    """The content of a spec; raises OSError, and SpecError for what is no regular file or larger than any spec."""
    if (kind := describe_irregular_file(file)) is not None:
        raise SpecError(f"this is {kind}", where=str(file), allowed="a YAML file")
    if (size := file.stat().st_size) > MAX_SPEC_BYTES:
        raise SpecError(
            f"this file has {size:,} bytes", where=str(file), allowed=f"a spec of at most {MAX_SPEC_BYTES:,} bytes"
        )
    return file.read_bytes()


def _make_yaml_error(file: Path, problem: YAMLError) -> SpecError:
    mark = getattr(problem, "problem_mark", None)
    where = f"{file}:{mark.line + 1}" if mark else str(file)
    said = getattr(problem, "problem", None) or first_line(problem)
    if "nested too deeply" in said:
        return SpecError("nested too deeply", where=str(file), remedy="a spec is three or four levels deep")
    if "twice" in said:
        return SpecError(said, where=where, remedy="keep one of them")
    if "'\\t'" in said:
        return SpecError("a tab, which YAML does not allow here", where=where, remedy="indent with spaces")
    return SpecError(f"this is no YAML: {said}", where=where, remedy="check indentation, quotes and brackets")
