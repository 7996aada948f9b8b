"""Where each key of a YAML text stands, so that an error can name the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

KeyPath = tuple[str | int, ...]


def find_key_lines(node: Node | None) -> dict[KeyPath, int]:
    """Key path -> line (from 1) below a text's root. What an alias repeats is not walked again: it may be large."""
    return dict(_walk_nodes(node, (), set()))


def _walk_nodes(node: Node | None, path: KeyPath, seen: set[int]) -> Iterator[tuple[KeyPath, int]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _walk_nodes(value, inner, seen)
    elif isinstance(node, SequenceNode):
        for i, value in enumerate(node.value):
            yield (*path, i), value.start_mark.line + 1
            yield from _walk_nodes(value, (*path, i), seen)


def find_line(lines: Mapping[KeyPath, int], path: KeyPath) -> int:
    """The line of a path, or of the nearest key around it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
