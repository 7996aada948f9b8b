"""YAML text as plain values, by the core schema of YAML 1.2: `yes`, `no`, `on`, `12:30`, `2024-01-01` are text.

A label called `no` must not become False (YAML 1.1 makes it so), and of a key that is written twice neither value may
win silently. ruamel.yaml scans the text and composes nodes; the values are built here, because its constructors know
more types than a spec has (dates, sets, sixty-based numbers) and read `1_000` and `01` otherwise than the core schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError, MaxDepthExceededError
from ruamel.yaml.constructor import ConstructorError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.resolver import VersionedResolver

YamlValue = str | int | float | bool | None | list["YamlValue"] | dict[str, "YamlValue"]
TagPattern = tuple[str, re.Pattern[str]]  # a tag, and the form of what carries it unsaid

TEXT_TAG, NULL_TAG, BOOL_TAG, INT_TAG, FLOAT_TAG, LIST_TAG, MAP_TAG = (
    f"tag:yaml.org,2002:{name}" for name in ("str", "null", "bool", "int", "float", "seq", "map")
)
MAX_DEPTH = 40  # levels of a spec; the deepest that means something has seven
MAX_DIGITS = 300  # of a whole number
MAX_VALUES = 200_000  # of a spec, those of its aliases counted as often as they stand
CORE_SCHEMA = (  # YAML 1.2.2, 10.3.2: tag, form, first characters
    (NULL_TAG, r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    (BOOL_TAG, r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    (INT_TAG, r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        FLOAT_TAG,
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


def build_core_patterns() -> dict[str, list[TagPattern]]:
    """First character of a plain scalar -> the tags that it may carry, in order; "" stands for no character."""
    patterns: dict[str, list[TagPattern]] = {}
    for tag, form, first_characters in CORE_SCHEMA:
        for first in first_characters:
            patterns.setdefault(first, []).append((tag, re.compile(rf"(?:{form})\Z")))
    return patterns


CORE_PATTERNS = build_core_patterns()


class CoreResolver(VersionedResolver):
    """The core schema whatever `%YAML` says: a file that names version 1.1 would turn the label `no` into False."""

    @property
    def versioned_resolver(self) -> Mapping[str, list[TagPattern]]:
        return CORE_PATTERNS


class SpecComposer(Composer):
    """Says nothing of an anchor that is used again: YAML allows it, and the warning would be a traceback's like."""

    def __init__(self, loader: YAML | None = None) -> None:
        super().__init__(loader)
        self.warn_double_anchors = False


def parse_yaml_value(text: str, key: str = "") -> YamlValue:
    """One YAML value, as it is read behind this key; raises YAMLError, for what is nested too deeply too."""
    return build_value(compose_yaml(text), key)


def compose_yaml(text: str) -> Node | None:
    """The root of a text's nodes, or None of an empty text; raises YAMLError.

    Nothing is nested deeper than MAX_DEPTH, and no alias stands inside of what it names.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.max_depth, yaml.Resolver, yaml.Composer = MAX_DEPTH, CoreResolver, SpecComposer
    try:
        node: Node | None = yaml.compose(text)
    except MaxDepthExceededError as problem:
        raise ComposerError(None, None, "it is nested too deeply", problem.problem_mark) from None
    except YAMLError:
        raise
    except (ValueError, TypeError, AttributeError, AssertionError, LookupError, RecursionError) as problem:
        # the scanner lets a few through: a directive or an escape that is cut short
        raise YAMLError(f"it cannot be read: {str(problem)[:120]}") from problem
    _check_alias_size(node)
    _mend_keys_without_values(node, set())
    return node


def _mend_keys_without_values(node: Node | None, seen: set[int]) -> None:
    """Read `{rank:}` and `[rank:]` as YAML 1.2.2 does (7.4.2): a colon before a bracket or a comma ends a key.

    ruamel.yaml takes that colon for the plain scalar's last character.
    """
    if not isinstance(node, CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, SequenceNode) and node.flow_style:
        node.value[:] = [_make_lone_key(one) if _ends_in_colon(one) else one for one in node.value]
    for entry in node.value:
        parts = entry if isinstance(entry, tuple) else (entry,)
        if node.flow_style and len(parts) == 2 and _ends_in_colon(parts[0]) and _is_left_out(parts[1]):
            parts[0].value = parts[0].value[:-1]
        for part in parts:
            _mend_keys_without_values(part, seen)


def _ends_in_colon(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.style is None and node.value.endswith(":")


def _is_left_out(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == NULL_TAG and not node.value


def _make_lone_key(node: ScalarNode) -> MappingNode:
    key = ScalarNode(TEXT_TAG, node.value[:-1], node.start_mark, node.end_mark)
    return MappingNode(MAP_TAG, [(key, ScalarNode(NULL_TAG, "", node.end_mark, node.end_mark))], node.start_mark)


def build_value(node: Node | None, key: str = "") -> YamlValue:
    """A node's value, as it is read behind this key; what aliases name is one object; raises YAMLError."""
    return None if node is None else _ValueBuilder().build(node, key)


@dataclass(frozen=True)
class _ValueBuilder:
    built: dict[tuple[int, bool], YamlValue] = field(default_factory=dict)  # id of a node, behind `labels` -> value

    def build(self, node: Node, key: str = "") -> YamlValue:
        """A node's value. Of a list behind `labels`, numbers, true and false stay text: 01 and True are labels."""
        if isinstance(node, ScalarNode):
            return build_scalar(node)
        place = (id(node), key == "labels")
        if place not in self.built:
            self.built[place] = self._build_collection(node, key)
        return self.built[place]

    def _build_collection(self, node: Node, key: str) -> YamlValue:
        if isinstance(node, SequenceNode) and node.tag == LIST_TAG:
            keep_text = key == "labels"
            return [_get_label_text(entry) if keep_text else self.build(entry) for entry in node.value]
        if isinstance(node, MappingNode) and node.tag == MAP_TAG:
            _check_keys(node)
            return {str(name.value): self.build(value, str(name.value)) for name, value in node.value}
        raise _make_tag_error(node)


def build_scalar(node: ScalarNode) -> YamlValue:
    """The value of a scalar by its tag, written or resolved; raises YAMLError."""
    build = SCALAR_BUILDERS.get(str(node.tag))
    if build is None:
        raise _make_tag_error(node)
    try:
        return build(str(node.value))
    except ValueError as problem:
        raise ConstructorError(
            None, None, f"a value is not what its tag or form says: {str(problem)[:120]}", node.start_mark
        ) from problem


def _build_integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number of {len(text):,} digits")
    return int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)


def _build_float(text: str) -> float:
    lowered = text.lower()
    return float(lowered.replace(".inf", "inf").replace(".nan", "nan"))


def _build_bool(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text[:40]!r} is neither true nor false")
    return text.lower() == "true"


SCALAR_BUILDERS: Mapping[str, Callable[[str], YamlValue]] = {
    TEXT_TAG: str,
    NULL_TAG: lambda text: None,
    BOOL_TAG: _build_bool,
    INT_TAG: _build_integer,
    FLOAT_TAG: _build_float,
}


def _get_label_text(node: Node) -> YamlValue:
    """A label as it stands in the data; an empty one and null are no text, which the task tells."""
    if isinstance(node, ScalarNode) and node.tag in (BOOL_TAG, INT_TAG, FLOAT_TAG):
        return str(node.value)
    return build_value(node)


def _check_keys(node: MappingNode) -> None:
    """Every key is a scalar, whose text names it (a label called 1, true or null is text), and stands once."""
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, ScalarNode):
            raise ConstructorError(None, None, "found unhashable key", key.start_mark)
        if (name := str(key.value)) in seen:
            raise ConstructorError(
                None, None, f"the key {name!r} is written twice (before in line {seen[name]})", key.start_mark
            )
        seen[name] = key.start_mark.line + 1


def _make_tag_error(node: Node) -> ConstructorError:
    return ConstructorError(None, None, f"could not determine a constructor for the tag {node.tag!r}", node.start_mark)


def _check_alias_size(node: Node | None) -> None:
    """Refuse a text whose aliases stand for more values than a spec can have: nine lines can name a billion.

    Aliases share what they repeat, but everything that walks the values later (to print, to check) walks it each time.
    """
    sizes: dict[int, int] = {}

    def size_of(one: Node, depth: int) -> int:
        if depth > MAX_DEPTH:
            raise ComposerError(None, None, "it is nested too deeply", one.start_mark)
        if id(one) not in sizes:
            sizes[id(one)] = MAX_VALUES  # of an alias inside of what it names
            inner = one.value if isinstance(one, CollectionNode) else ()
            parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
            sizes[id(one)] = min(MAX_VALUES + 1, 1 + sum(size_of(part, depth + 1) for part in parts))
        return sizes[id(one)]

    if node is not None and size_of(node, 0) > MAX_VALUES:
        raise ComposerError(None, None, f"its aliases stand for more than {MAX_VALUES:,} values", node.start_mark)
