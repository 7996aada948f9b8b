r"""Sets of characters as ranges of code points, and the classes of patterns (\d, \w, \s) as all readers take them.

What means different things to different readers is read as what all of them allow: \d, \w and \s are of ASCII, and
their opposites leave out what any reader takes for a digit, a letter or white space.
"""

from __future__ import annotations

from collections.abc import Iterable

Ranges = tuple[tuple[int, int], ...]  # code points, both ends included; sorted, and apart from each other
MAX_CODE_POINT = 0x10FFFF


def merge_ranges(parts: Iterable[tuple[int, int]]) -> Ranges:
    """Their union, sorted and apart."""
    made: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if made and low <= made[-1][1] + 1:
            made[-1] = (made[-1][0], max(made[-1][1], high))
        else:
            made.append((low, high))
    return tuple(made)


def subtract_ranges(ranges: Ranges, others: Ranges) -> Ranges:
    """What is in the first and not in the second."""
    made = []
    for low, high in ranges:
        for left, right in others:
            if left > high or right < low:
                continue
            if left > low:
                made.append((low, left - 1))
            low = right + 1
        if low <= high:
            made.append((low, high))
    return tuple(made)


def ranges_of(text: str) -> Ranges:
    """The characters of a text."""
    return merge_ranges((ord(c), ord(c)) for c in text)


# What JSON writes in another way than it is (control characters, quote, backslash), and surrogates, which are no text.
UNWRITABLE: Ranges = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0xD800, 0xDFFF))
ALL_CHARACTERS: Ranges = ((0, MAX_CODE_POINT),)
WRITABLE = subtract_ranges(ALL_CHARACTERS, UNWRITABLE)
LINE_BREAKS = ranges_of("\n\r\u2028\u2029")
ASCII_WORD = merge_ranges([(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)])
DIGITS: Ranges = ((0x30, 0x39),)
WHITE_SPACE = merge_ranges(
    [*ranges_of("\t\n\v\f\r \x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"), (0x2000, 0x200A)]
)
NON_ASCII: Ranges = ((0x80, MAX_CODE_POINT),)
CERTAIN_CLASSES = {"d": DIGITS, "w": ASCII_WORD, "s": ranges_of(" \t\n\v\f\r")}  # what every reader counts among them
POSSIBLE_CLASSES = {
    "d": merge_ranges([*DIGITS, *NON_ASCII]),
    "w": merge_ranges([*ASCII_WORD, *NON_ASCII]),
    "s": WHITE_SPACE,
}
CONTROL_ESCAPES = {"n": 10, "r": 13, "t": 9, "v": 11, "f": 12, "0": 0}
