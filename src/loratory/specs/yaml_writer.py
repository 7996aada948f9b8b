"""Values as YAML text that every reader takes for the same values, of YAML 1.1 too."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver, implicit_resolvers

from loratory.specs.yaml_values import CORE_PATTERNS, TEXT_TAG

LINE_BREAKS = re.compile("[\x00-\x1f\x85\u2028\u2029\ufeff]")
QuotedForm = tuple[str, Any]  # a tag, and a pattern: re's, or one of ruamel.yaml's own that is compiled when first used
BLOCK_WIDTH, FLOW_WIDTH = 110, 1_000_000  # characters of a line, from which text is folded


def _build_quoting_patterns() -> Mapping[str, list[QuotedForm]]:
    """The core schema's forms and those of YAML 1.1: text of any of these forms needs quotes."""
    patterns: dict[str, list[QuotedForm]] = {first: list(forms) for first, forms in CORE_PATTERNS.items()}
    for _, tag, pattern, first_characters in implicit_resolvers:
        for first in first_characters:
            patterns.setdefault(first, []).append((tag, pattern))
    return patterns


QUOTING_PATTERNS = _build_quoting_patterns()


class QuotingResolver(VersionedResolver):
    """Tells the writer which text would be taken for something else: `no`, `12:30` and `1_000` are quoted."""

    @property
    def versioned_resolver(self) -> Mapping[str, list[QuotedForm]]:
        return QUOTING_PATTERNS


class SpecRepresenter(SafeRepresenter):
    """Repeats what stands twice, and puts text with odd line ends in double quotes, where they are escaped."""

    def ignore_aliases(self, data: object) -> bool:
        """Always: no value is written as a reference to another."""
        return True

    def represent_text(self, text: str) -> ScalarNode:
        """A text's node."""
        node: ScalarNode = self.represent_scalar(TEXT_TAG, text, style='"' if LINE_BREAKS.search(text) else None)
        return node


SpecRepresenter.add_representer(str, SpecRepresenter.represent_text)


def dump_yaml(values: object, *, flow: bool = False) -> str:
    """YAML text that reads back as the same values, whatever the strings hold; flow: in one line."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Resolver, yaml.Representer = QuotingResolver, SpecRepresenter
    yaml.default_flow_style, yaml.width = flow, FLOW_WIDTH if flow else BLOCK_WIDTH
    yaml.sort_base_mapping_type_on_output = False
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()
