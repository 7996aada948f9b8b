"""Words with a tag each, a word on a line and an empty line between texts, as CoNLL's shared tasks write them."""

from __future__ import annotations

from loratory.data.rows import Row
from loratory.errors import DataError

DOCUMENT = "-DOCSTART-"


def read_tagged(text: str, shown: str) -> list[Row]:
    """A row of `tokens` and `tags` for each text: the first and last column of its lines. Raises DataError."""
    rows: list[Row] = []
    tokens: list[str] = []
    tags: list[str] = []
    first = 1
    for number, line in enumerate([*text.split("\n"), ""], 1):
        parts = line.rstrip("\r").split("\t") if "\t" in line else line.split()
        if not parts or not parts[0].strip() or parts[0] == DOCUMENT:
            if tokens:
                rows.append(Row({"tokens": tokens, "tags": tags}, shown, first))
            tokens, tags, first = [], [], number + 1
            continue
        if len(parts) < 2:
            raise DataError(
                f"the line holds {len(parts)} column, a word without a tag: {line.strip()[:60]!r}",
                where=f"{shown}:{number}",
                allowed="a word and its tag, separated by a tab or spaces; an empty line between texts",
                remedy="add the tag (O where there is no span)",
            )
        tokens.append(parts[0])
        tags.append(parts[-1])
    return rows


def is_tagged(text: str) -> bool:
    """Whether the first lines are words with BIO tags."""
    lines = [line.split() for line in text.split("\n")[:40] if line.strip() and not line.startswith(DOCUMENT)]
    tags = [parts[-1] for parts in lines if len(parts) > 1]
    begun = any(tag.startswith("B-") for tag in tags)
    return len(tags) == len(lines) > 0 and begun and all(tag == "O" or tag[:2] in ("B-", "I-") for tag in tags)
