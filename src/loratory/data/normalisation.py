"""Texts as they are compared: what a reader takes for the same is made the same, for comparing only."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import regex

WORDS_PER_NUMBER = 5  # fewer words beside a number, and the number is what the text is about
UNSEEN = regex.compile(
    r"[\p{Cf}\p{Default_Ignorable_Code_Point}]"
)  # zero-width characters, joiners, variation selectors
# Accents: the blocks of combining diacritical marks alone, so that vowel signs of Indic scripts and voicing marks of
# kana stay.
ACCENTS = regex.compile(r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
NOT_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}\p{Extended_Pictographic}\p{Regional_Indicator}]+")
NUMBER = regex.compile(r"\p{N}+(?: \p{N}+)*")
FIGURE = regex.compile(r"\p{N}+|[\p{Sm}\p{Sc}*/%^-]")  # numbers and the signs that decide what they mean
LETTER = regex.compile(r"\p{L}")
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # scripts without spaces
UNSPACED_LETTER = regex.compile(f"[{UNSPACED}]")
WORD = regex.compile(rf"(?V1)[[\p{{L}}\p{{M}}]--[{UNSPACED}]]+")

# Look-alikes of Latin letters, the commonest of Unicode's confusables.txt (UTS #39, revision 29): Cyrillic, Greek,
# Armenian, small capitals and letters with strokes; NFKC sees to full-width, circled and mathematical forms. Letters
# whose capital is the look-alike (the Cyrillic ve, say) go with it, so that a change of case changes nothing. Within
# one alphabet hardly two letters become one.
CAPITALS = dict(zip("\u0397\u039d\u03a1\u03a5\u03a7", "hnpyx", strict=True))  # Greek: the small ones look otherwise
CYRILLIC = (
    "\u0430\u0432\u0441\u0435\u04bb\u043d\u0456\u0458\u043a\u04cf\u043c\u043f"
    "\u043e\u051b\u0440\u0433\u0455\u0442\u0443\u0475\u051d\u0445\u0501"
)
GREEK = "\u03b1\u03b2\u03b3\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7"
ARMENIAN = "\u0585\u057d\u0578\u0570\u0563\u0566\u0581"
CAPS = (  # small capitals
    "\u1d00\u0299\u1d04\u1d05\u1d07\ua730\u0262\u029c\u026a\u1d0a\u1d0b\u029f"
    "\u1d0d\u0274\u1d0f\u1d18\u0280\ua731\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22"
)
LATIN = "\u0131\u0269\u0251\u0261\u00f8\u0142\u0111\u0127\u0167\u0180\u0268\u0289"
SMALL = {
    **dict(zip(CYRILLIC, "abcehhijklmnoqprstyvwxd", strict=True)),
    **dict(zip(GREEK, "abyeznikmvoptux", strict=True)),
    **dict(zip(ARMENIAN, "ounhqqg", strict=True)),
    **dict(zip(CAPS, "abcdefghijklmnoprstuvwyz", strict=True)),
    **dict(zip(LATIN, "iiagoldhtbiu", strict=True)),
    "\u00e6": "ae",
    "\u0153": "oe",
}
UPPER_TABLE, LOWER_TABLE = str.maketrans(CAPITALS), str.maketrans(SMALL)


@dataclass(frozen=True)
class Form:
    """A text as it is compared with others. Two texts of one form are near-duplicates."""

    text: str
    figures: tuple[str, ...]  # numbers and signs that have to be equal; () where numbers are folded or there are none
    compared: bool  # False for texts without a letter: they are alike only where they are equal


def fold(text: str) -> str:
    """A text without its case and white space (and in Unicode's NFC): texts equal in it are exact duplicates."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def form(text: str) -> Form:
    """Unseen characters, accents and signs go, look-alikes become Latin letters, numbers 0 where enough words stand.

    Enough are five words for each number. Two letters of a script without spaces count as a word.
    """
    seen = unicodedata.normalize("NFKD", UNSEEN.sub("", text))
    bare = unicodedata.normalize("NFKC", ACCENTS.sub("", seen))
    folded = bare.translate(UPPER_TABLE).casefold().translate(LOWER_TABLE)
    if not LETTER.search(folded):
        return Form(" ".join(folded.split()) or fold(text), (), compared=False)
    plain = NOT_WORD.sub(" ", folded).strip()
    numbers = len(NUMBER.findall(plain))
    if not numbers:
        return Form(plain, (), compared=True)
    words = len(WORD.findall(plain)) + len(UNSPACED_LETTER.findall(plain)) // 2
    if words >= WORDS_PER_NUMBER * numbers:
        return Form(NUMBER.sub("0", plain), (), compared=True)
    return Form(plain, tuple(FIGURE.findall(folded)), compared=True)
