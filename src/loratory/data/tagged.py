"""Words with a tag each, a word on a line and an empty line between texts, as CoNLL's shared tasks write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.tasks.schemes import OUTSIDE, Scheme, find_scheme

DOCUMENT = "-DOCSTART-"
LOOKED_AT = 2000  # lines that tell whether a file is of this form
ALIKE = 0.98  # share of the lines that must fit there: a few that are broken are refused by their number
CHUNKS = frozenset(("NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"))
FEW = 50  # labels of bare tags at most, for a file whose name does not tell
Line: TypeAlias = tuple[int, list[str]]  # its number, its cells


@dataclass(frozen=True)
class _Layout:
    """Which cell of a line is what."""

    width: int  # cells of most lines
    even: bool  # whether every line has as many
    index: bool  # whether the first cell counts the words
    tags: int  # the cell of the tags, from the end: -1 is the last
    nested: bool  # whether the last cell holds inner tags, which are not read


def read_tagged(text: str, shown: str) -> tuple[list[Row], list[str]]:
    """A row of `tokens` and `tags` for each text, its other columns as `column_N`; and what is not read.

    The words are the first column, or the second where the first counts them; the tags are the last, or the one before
    it where the last holds inner tags (GermEval 2014). Raises DataError.
    """
    texts = _texts(text)
    if not texts:  # comments and DOCSTART lines alone
        raise DataError("the file holds no rows", where=shown, allowed="at least one row", remedy="check the path")
    layout = _layout(texts)
    rows = [_row(lines, layout, shown) for lines in texts]
    last = f"column_{layout.width}"
    said = f"{shown}: {last} holds the tags of spans inside spans and is not read (data: tags: {last} would take it)"
    return rows, [said] if layout.nested else []


def is_tagged(text: str) -> bool:
    """Whether the lines are surely words with tags: marked (B-LABEL), or bare labels of which most are O."""
    lines = text.split("\n", LOOKED_AT)[:LOOKED_AT]
    texts = _texts("\n".join(lines))
    widths = Counter(len(cells) for one in texts for _, cells in one)
    if not widths or widths.most_common(1)[0][1] < ALIKE * widths.total() or widths.most_common(1)[0][0] < 2:
        return False
    layout = _layout(texts)
    tags = Counter(cells[layout.tags] for one in texts for _, cells in one if len(cells) == layout.width)
    scheme = find_scheme(tags)
    odd = 0 if scheme is None else sum(count for tag, count in tags.items() if not scheme.split(tag)[0])
    if scheme is None or odd > (1 - ALIKE) * tags.total():
        return False
    bare = not scheme.separator
    return not bare or (len(texts) > 1 and len(tags) <= FEW and 2 * tags[OUTSIDE] > tags.total())


def _texts(text: str) -> list[list[Line]]:
    """The lines of each text, cut into cells, without comments and DOCSTART lines."""
    known: dict[str, list[str]] = {}  # many lines are alike, and stand for one list of cells
    lines = [
        (number, known.get(line) or known.setdefault(line, _cells(line)))
        for number, line in enumerate(text.split("\n"), 1)
    ]
    full = [cells for _, cells in lines if cells and not cells[0].startswith("#")]
    width = Counter(len(cells) for cells in full).most_common(1)[0][0] if full else 0
    tags = {cells[-1] for cells in full}
    texts: list[list[Line]] = [[]]
    for number, cells in lines:
        # "#" and "#tag" are words too: a comment has another number of cells, or ends in what is no tag of the file.
        if cells and cells[0].startswith("#") and full and (len(cells) != width or cells[-1] not in tags):
            continue
        if not cells or cells[0] == DOCUMENT or cells[:2] == ["1", DOCUMENT]:
            texts.append([])
        else:
            texts[-1].append((number, cells))
    return [one for one in texts if one]


def _cells(line: str) -> list[str]:
    """The cells of a line; none where it is empty, or where no word stands before its O."""
    line = line.rstrip("\r")
    cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
    blank = not any(cells) or (not cells[0] and set(cells[1:]) <= {"", OUTSIDE})
    return [] if blank else cells


def _layout(texts: Sequence[Sequence[Line]]) -> _Layout:
    lines = [cells for one in texts for _, cells in one]
    widths = Counter(map(len, lines))
    width, most = widths.most_common(1)[0]
    if width < 3 or 2 * most < len(lines):
        return _Layout(width, len(widths) == 1, False, -1, False)
    index = any(
        all(cells[0] == str(place) for one in texts for place, (_, cells) in enumerate(one, first)) for first in (1, 0)
    )
    nested = width >= 3 + index and _is_nested([cells for cells in lines if len(cells) == width], index)
    return _Layout(width, len(widths) == 1, index, -2 if nested else -1, nested)


def _is_nested(lines: Sequence[Sequence[str]], index: bool) -> bool:
    """Whether the last two columns hold tags of the same labels, or the last marks only what lies inside the others.

    Chunks of the shared task of 2000 (NP, VP, ...) stand before names in the same way, and are no names.
    """
    outer, inner = (Counter(cells[place] for cells in lines) for place in (-2, -1))
    first, second = find_scheme(outer), find_scheme(inner)
    if first is None or not first.separator:
        return False
    if second is None:
        return index and set(inner) == {OUTSIDE}
    labels = _labels(outer, first)
    within = all(cells[-2] != OUTSIDE for cells in lines if cells[-1] != OUTSIDE)
    return _labels(inner, second) <= labels or (within and not labels & CHUNKS)


def _labels(tags: Counter[str], scheme: Scheme) -> set[str]:
    return {label for tag in tags for role, label in [scheme.split(tag)] if role not in ("", OUTSIDE)}


def _row(lines: Sequence[Line], layout: _Layout, shown: str) -> Row:
    for number, cells in lines:
        _check(cells, layout, f"{shown}:{number}")
    word, last = 1 if layout.index else 0, layout.width + layout.tags
    values = {"tokens": [cells[word] for _, cells in lines], "tags": [cells[layout.tags] for _, cells in lines]}
    for place in range(layout.width if layout.even else 0):
        if place not in (0, word, last):
            values[f"column_{place + 1}"] = [cells[place] for _, cells in lines]
    return Row(values, shown, lines[0][0])


def _check(cells: Sequence[str], layout: _Layout, where: str) -> None:
    given = cells[1:] if layout.index else cells
    uneven = (layout.index or layout.nested) and len(cells) != layout.width
    if uneven or len(given) < 2 or not given[-1] or not given[0]:
        held = f"{len(cells)} columns and others {layout.width}" if uneven else _held(given)
        raise DataError(
            f"the line holds {held}: {' '.join(cells)[:60]!r}",
            where=where,
            allowed="a word and its tag, separated by a tab or spaces; an empty line between texts",
            remedy="add the tag (O where there is no span)",
        )


def _held(cells: Sequence[str]) -> str:
    if len(cells) < 2:
        return f"{len(cells)} column, a word without a tag"
    return "a tag without a word" if not cells[0] else "a word without a tag"
