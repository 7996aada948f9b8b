"""YAML as the core schema of YAML 1.2 reads it: `yes`, `no`, `on`, `12:30` and `2024-01-01` are text, `1e-4` a number.

A label called `no` must not become False (YAML 1.1, which PyYAML implements, makes it so), and of a key that is
written twice neither value may win silently.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from loratory.artifacts.untrusted_files import describe_irregular_file
from loratory.errors import SpecError, format_value
from loratory.specs.yaml_lines import KeyPath as KeyPath
from loratory.specs.yaml_lines import find_key_lines

TEXT_TAG, NULL_TAG, BOOL_TAG, INT_TAG, FLOAT_TAG = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "null", "bool", "int", "float")
)
MAX_SPEC_BYTES = 4 * 2**20  # bytes of a spec: 70,000 lines
MAX_DEPTH = 40  # levels of a spec; the deepest that means something has seven
MAX_DIGITS = 300  # of a whole number
MAX_VALUES = 200_000  # of a spec, those of its aliases counted as often as they stand
LINE_BREAKS = re.compile("[\x00-\x1f\x85\u2028\u2029\ufeff]")
CORE_SCHEMA = (  # YAML 1.2.2, 10.3.2
    (NULL_TAG, r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    (BOOL_TAG, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (INT_TAG, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        FLOAT_TAG,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class SpecLoader(yaml.SafeLoader):
    """Plain values only, by the core schema; a key that is written twice is an error."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own, filled below

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        _check_duplicate_keys(node)
        for key, value in node.value:  # a label called 1, true or null is text where it is a key
            key.tag = TEXT_TAG if key.tag in (NULL_TAG, BOOL_TAG, INT_TAG, FLOAT_TAG) else key.tag
            if key.value == "labels" and isinstance(value, yaml.SequenceNode):  # and where it is one of a list
                _keep_as_text(value.value)
        return super().construct_mapping(node, deep)


class SpecDumper(yaml.SafeDumper):
    """Quotes what either version of YAML would take for something else than text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _keep_as_text(nodes: list[yaml.Node]) -> None:
    """Make text of numbers, true and false: a label is what stands in the data, so 01 and True stay what they are."""
    for node in nodes:
        node.tag = TEXT_TAG if node.tag in (BOOL_TAG, INT_TAG, FLOAT_TAG) else node.tag


def _construct_integer(loader: SpecLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


for _tag, _pattern, _first in CORE_SCHEMA:
    _form = re.compile(rf"(?:{_pattern})\Z")
    SpecLoader.add_implicit_resolver(_tag, _form, _first)
    SpecDumper.add_implicit_resolver(_tag, _form, _first)
SpecLoader.add_constructor(INT_TAG, _construct_integer)


def _represent_text(dumper: SpecDumper, text: str) -> yaml.ScalarNode:
    """PyYAML folds some line ends of Unicode into spaces unless they stand in double quotes, where it escapes them."""
    return dumper.represent_scalar(TEXT_TAG, text, style='"' if LINE_BREAKS.search(text) else None)


SpecDumper.add_representer(str, _represent_text)


def _check_duplicate_keys(node: Any) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        name = str(key.value)
        if name in seen and key.tag != "tag:yaml.org,2002:merge":
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {name!r} is written twice (before in line {seen[name]})", key.start_mark
            )
        seen[name] = key.start_mark.line + 1


def parse_yaml_value(text: str, key: str = "") -> Any:
    """One YAML value, as it is read behind this key; raises yaml.YAMLError, for what is nested too deeply too."""
    try:
        return _parse_value(text, key)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except (ValueError, TypeError, AttributeError, OverflowError, KeyError, IndexError) as problem:
        # PyYAML's own constructors let these through: `!!int x`, `!!timestamp x`, a number of 5,000 digits
        raise yaml.YAMLError(f"a value is not what its tag or form says: {str(problem)[:120]}") from problem


def _parse_value(text: str, key: str) -> Any:
    node = yaml.compose(text, SpecLoader)
    _check_alias_size(node)
    if key == "labels" and isinstance(node, yaml.SequenceNode):
        _keep_as_text(node.value)
    return None if node is None else SpecLoader("").construct_document(node)


def _check_alias_size(node: yaml.Node | None) -> None:
    """Refuse a text whose aliases stand for more values than a spec can have: nine lines can name a billion.

    PyYAML shares what an alias repeats; merges (<<) copy it, and so does everything that walks the values later.
    """
    sizes: dict[int, int] = {}

    def size_of(one: yaml.Node | None, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, "it is nested too deeply", one.start_mark if one else None)
        if id(one) not in sizes:
            sizes[id(one)] = MAX_VALUES  # of an alias inside of what it names
            inner = one.value if isinstance(one, yaml.CollectionNode) else ()
            parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
            sizes[id(one)] = min(MAX_VALUES + 1, 1 + sum(size_of(part, depth + 1) for part in parts))
        return sizes[id(one)]

    if size_of(node, 0) > MAX_VALUES:
        mark = node.start_mark if node is not None else None
        raise yaml.composer.ComposerError(None, None, f"its aliases stand for more than {MAX_VALUES:,} values", mark)


def load_yaml(file: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """A YAML file's mapping and the line of every key; raises SpecError."""
    return parse_yaml(_read_text(file), file)


def parse_yaml(text: str, file: Path) -> tuple[dict[str, Any], dict[KeyPath, int]]:
    """As `load_yaml`, from a text that is, or is to become, a file. Raises SpecError."""
    try:
        values, lines = parse_yaml_value(text), find_key_lines(text, SpecLoader)
    except yaml.YAMLError as problem:
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


def _make_yaml_error(file: Path, problem: yaml.YAMLError) -> SpecError:
    mark = getattr(problem, "problem_mark", None)
    where = f"{file}:{mark.line + 1}" if mark else str(file)
    said = getattr(problem, "problem", None) or next(iter(str(problem).splitlines()), "it cannot be read")
    if "nested too deeply" in said:
        return SpecError("nested too deeply", where=str(file), remedy="a spec is three or four levels deep")
    if "twice" in said:
        return SpecError(said, where=where, remedy="keep one of them")
    if "'\\t'" in said:
        return SpecError("a tab, which YAML does not allow here", where=where, remedy="indent with spaces")
    return SpecError(f"this is no YAML: {said}", where=where, remedy="check indentation, quotes and brackets")


def dump_yaml(values: Any, *, flow: bool = False) -> str:
    """YAML text that reads back as the same values, whatever the strings hold."""
    return str(
        yaml.dump(
            values,
            Dumper=SpecDumper,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=flow,
            width=1_000_000 if flow else 110,
        )
    )
