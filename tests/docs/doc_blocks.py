"""The fenced blocks of a page, and what a page says about them in HTML comments.

<!-- test: setup messages.csv runs/tickets -->   lies in the page's folder before its first block runs
<!-- test: skip REASON -->                       above a block: it is not run
```yaml title="spec.yaml"                        the block is written to the file of that name
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HOME = Path(__file__).parents[2]
DOCS = HOME / "docs"
COMMANDS = frozenset({"bash", "sh", "console", "python"})
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>.*)$")
DIRECTIVE = re.compile(r"<!-- test: (\w+) (.+?) -->")
TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block: its text, the line of its fence (from 1), and why it is not run, if so."""

    page: str
    line: int
    language: str
    text: str
    file: str = ""
    skipped: str = ""

    @property
    def is_command(self) -> bool:
        return self.language in COMMANDS and not self.file

    @property
    def script(self) -> str:
        """What is run: of a `console` block the lines behind its prompts, at their own places."""
        if self.language != "console":
            return self.text
        return "\n".join(line[2:] if line.startswith(("$ ", "> ")) else "" for line in self.text.split("\n"))


@dataclass(frozen=True)
class Page:
    """A page of Markdown, its blocks in order, and what has to lie in its folder."""

    name: str
    blocks: tuple[Block, ...]
    setup: tuple[str, ...]

    @property
    def commands(self) -> tuple[Block, ...]:
        return tuple(block for block in self.blocks if block.is_command)


def list_pages() -> list[Path]:
    """The pages of docs/, without the templates of generated ones."""
    return [file for file in sorted(DOCS.rglob("*.md")) if "templates" not in file.parts]


def read_page(file: Path, name: str) -> Page:
    text = file.read_text(encoding="utf-8")
    setup = tuple(word for kind, words in DIRECTIVE.findall(text) if kind == "setup" for word in words.split())
    return Page(name, tuple(iterate_blocks(text, name)), setup)


def iterate_blocks(text: str, page: str) -> Iterator[Block]:
    lines = text.split("\n")
    number = 0
    while number < len(lines):
        opened = FENCE.match(lines[number])
        if opened is None:
            number += 1
            continue
        closing = opened["indent"] + "```"
        end = next(at for at in range(number + 1, len(lines)) if lines[at].rstrip() == closing)
        info = opened["info"].strip()
        title = TITLE.search(info)
        yield Block(
            page,
            number + 1,
            info.split(" ")[0],
            textwrap.dedent("\n".join(lines[number + 1 : end])),
            file=title[1] if title else "",
            skipped=find_skip(lines, number),
        )
        number = end + 1


def find_skip(lines: list[str], fence: int) -> str:
    """The reason in the comment that stands directly above a fence."""
    above = DIRECTIVE.search(lines[fence - 1]) if fence else None
    return above[2] if above and above[1] == "skip" else ""
