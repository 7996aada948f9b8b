"""Where each key of a YAML text stands, so that an error can name the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import yaml

Path = tuple[str | int, ...]


def lines_of(text: str, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> dict[Path, int]:
    """Key path -> line (from 1) of a YAML text. What an alias repeats is not walked again: it may repeat itself."""
    return dict(_walk(yaml.compose(text, loader), (), set()))


def _walk(node: yaml.Node | None, path: Path, seen: set[int]) -> Iterator[tuple[Path, int]]:
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            yield inner, key.start_mark.line + 1
            yield from _walk(value, inner, seen)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield (*path, i), value.start_mark.line + 1
            yield from _walk(value, (*path, i), seen)


def line_at(lines: Mapping[Path, int], path: Path) -> int:
    """The line of a path, or of the nearest key around it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
