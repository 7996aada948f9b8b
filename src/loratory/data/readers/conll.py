"""Words with a tag each, a word on a line and an empty line between texts, as CoNLL's shared tasks write them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from loratory.data.rows import Row
from loratory.errors import DataError
from loratory.tasks.tag_notations import TagNotation, detect_notation
from loratory.tasks.tag_schemes import OUTSIDE

DOCSTART = "-DOCSTART-"
MAX_SAMPLE_LINES = 2000  # lines that tell whether a file is of this form
MIN_FITTING_SHARE = 0.98  # share of the lines that must fit there: a few that are broken are refused by their number
CHUNK_LABELS = frozenset(("NP", "VP", "PP", "ADVP", "ADJP", "SBAR", "PRT", "CONJP", "INTJ", "LST", "UCP"))
MAX_BARE_LABELS = 50  # labels of bare tags at most, for a file whose name does not tell
Line: TypeAlias = tuple[int, list[str]]  # its number, its cells


@dataclass(frozen=True)
class _Layout:
    """Which cell of a line is what."""

    width: int  # cells of most lines
    is_rectangular: bool  # whether every line has as many
    has_index: bool  # whether the first cell counts the words
    tag_cell: int  # the cell of the tags, from the end: -1 is the last
    has_nested_tags: bool  # whether the last cell holds inner tags, which are not read


def read_conll(text: str, display_path: str) -> tuple[list[Row], list[str]]:
    """A row of `tokens` and `tags` for each text, its other columns as `column_N`; and what is not read.

    The words are the first column, or the second where the first counts them; the tags are the last, or the one before
    it where the last holds inner tags (GermEval 2014). Raises DataError.
    """
    texts = _split_texts(text)
    if not texts:  # comments and DOCSTART lines alone
        raise DataError(
            "the file holds no rows", where=display_path, allowed="at least one row", remedy="check the path"
        )
    layout = _detect_layout(texts)
    rows = [_build_row(lines, layout, display_path) for lines in texts]
    last = f"column_{layout.width}"
    said = (
        f"{display_path}: {last} holds the tags of spans inside spans and is not read (data: tags: {last} "
        "would take it)"
    )
    return rows, [said] if layout.has_nested_tags else []


def is_conll(text: str) -> bool:
    """Whether the lines are surely words with tags: marked (B-LABEL), or bare labels of which most are O."""
    lines = text.split("\n", MAX_SAMPLE_LINES)[:MAX_SAMPLE_LINES]
    texts = _split_texts("\n".join(lines))
    widths = Counter(len(cells) for one in texts for _, cells in one)
    if (
        not widths
        or widths.most_common(1)[0][1] < MIN_FITTING_SHARE * widths.total()
        or widths.most_common(1)[0][0] < 2
    ):
        return False
    layout = _detect_layout(texts)
    tags = Counter(cells[layout.tag_cell] for one in texts for _, cells in one if len(cells) == layout.width)
    scheme = detect_notation(tags)
    odd = 0 if scheme is None else sum(count for tag, count in tags.items() if not scheme.split(tag)[0])
    if scheme is None or odd > (1 - MIN_FITTING_SHARE) * tags.total():
        return False
    bare = not scheme.separator
    return not bare or (len(texts) > 1 and len(tags) <= MAX_BARE_LABELS and 2 * tags[OUTSIDE] > tags.total())


def _split_texts(text: str) -> list[list[Line]]:
    """The lines of each text, cut into cells, without comments and DOCSTART lines."""
    known: dict[str, list[str]] = {}  # many lines are alike, and stand for one list of cells
    lines = [
        (number, known.get(line) or known.setdefault(line, _split_cells(line)))
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
        if not cells or cells[0] == DOCSTART or cells[:2] == ["1", DOCSTART]:
            texts.append([])
        else:
            texts[-1].append((number, cells))
    return [one for one in texts if one]


def _split_cells(line: str) -> list[str]:
    """The cells of a line; none where it is empty, or where no word stands before its O."""
    line = line.rstrip("\r")
    cells = [cell.strip() for cell in line.split("\t")] if "\t" in line else line.split()
    blank = not any(cells) or (not cells[0] and set(cells[1:]) <= {"", OUTSIDE})
    return [] if blank else cells


def _detect_layout(texts: Sequence[Sequence[Line]]) -> _Layout:
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


def _is_nested(lines: Sequence[Sequence[str]], has_index: bool) -> bool:
    """Whether the last two columns hold tags of the same labels, or the last marks only what lies inside the others.

    Chunks of the shared task of 2000 (NP, VP, ...) stand before names in the same way, and are no names.
    """
    outer, inner = (Counter(cells[place] for cells in lines) for place in (-2, -1))
    first, second = detect_notation(outer), detect_notation(inner)
    if first is None or not first.separator:
        return False
    if second is None:
        return has_index and set(inner) == {OUTSIDE}
    labels = _collect_labels(outer, first)
    within = all(cells[-2] != OUTSIDE for cells in lines if cells[-1] != OUTSIDE)
    return _collect_labels(inner, second) <= labels or (within and not labels & CHUNK_LABELS)


def _collect_labels(tags: Counter[str], scheme: TagNotation) -> set[str]:
    return {label for tag in tags for role, label in [scheme.split(tag)] if role not in ("", OUTSIDE)}


def _build_row(lines: Sequence[Line], layout: _Layout, display_path: str) -> Row:
    for number, cells in lines:
        _check_line(cells, layout, f"{display_path}:{number}")
    word, last = 1 if layout.has_index else 0, layout.width + layout.tag_cell
    values = {"tokens": [cells[word] for _, cells in lines], "tags": [cells[layout.tag_cell] for _, cells in lines]}
    for place in range(layout.width if layout.is_rectangular else 0):
        if place not in (0, word, last):
            values[f"column_{place + 1}"] = [cells[place] for _, cells in lines]
    return Row(values, display_path, lines[0][0])


def _check_line(cells: Sequence[str], layout: _Layout, where: str) -> None:
    given = cells[1:] if layout.has_index else cells
    uneven = (layout.has_index or layout.has_nested_tags) and len(cells) != layout.width
    if uneven or len(given) < 2 or not given[-1] or not given[0]:
        held = f"{len(cells)} columns and others {layout.width}" if uneven else _describe_cells(given)
        raise DataError(
            f"the line holds {held}: {' '.join(cells)[:60]!r}",
            where=where,
            allowed="a word and its tag, separated by a tab or spaces; an empty line between texts",
            remedy="add the tag (O where there is no span)",
        )


def _describe_cells(cells: Sequence[str]) -> str:
    if len(cells) < 2:
        return f"{len(cells)} column, a word without a tag"
    return "a tag without a word" if not cells[0] else "a word without a tag"
