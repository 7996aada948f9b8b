"""Texts as they are compared: what a reader takes for the same is made the same, for comparing only."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import regex

MIN_WORDS_PER_NUMBER = 5  # fewer words beside a number, and the number is what the text is about
INVISIBLE = regex.compile(
    r"[\p{Cf}\p{Default_Ignorable_Code_Point}]"
)  # zero-width characters, joiners, variation selectors
# Accents: the blocks of combining diacritical marks alone, so that vowel signs of Indic scripts and voicing marks of
# kana stay.
ACCENTS = regex.compile(r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]")
NON_WORD = regex.compile(r"[^\p{L}\p{M}\p{N}\p{Extended_Pictographic}\p{Regional_Indicator}]+")
NUMBER = regex.compile(r"\p{N}+(?: \p{N}+)*")
NUMBER_OR_SIGN = regex.compile(r"\p{N}+|[\p{Sm}\p{Sc}*/%^-]")  # numbers and the signs that decide what they mean
LETTER = regex.compile(r"\p{L}")
UNSPACED_SCRIPTS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"  # scripts without spaces
UNSPACED_LETTER = regex.compile(f"[{UNSPACED_SCRIPTS}]")
WORD = regex.compile(rf"(?V1)[[\p{{L}}\p{{M}}]--[{UNSPACED_SCRIPTS}]]+")

# Look-alikes of Latin letters, the commonest of Unicode's confusables.txt (UTS #39, revision 29): Cyrillic, Greek,
# Armenian, small capitals and letters with strokes; NFKC sees to full-width, circled and mathematical forms. Letters
# whose capital is the look-alike (the Cyrillic ve, say) go with it, so that a change of case changes nothing. Within
# one alphabet hardly two letters become one.
CAPITAL_LOOKALIKES = dict(
    zip("\u0397\u039d\u03a1\u03a5\u03a7", "hnpyx", strict=True)
)  # Greek: the small ones look otherwise
CYRILLIC_LOOKALIKES = (
    "\u0430\u0432\u0441\u0435\u04bb\u043d\u0456\u0458\u043a\u04cf\u043c\u043f"
    "\u043e\u051b\u0440\u0433\u0455\u0442\u0443\u0475\u051d\u0445\u0501"
)
GREEK_LOOKALIKES = "\u03b1\u03b2\u03b3\u03b5\u03b6\u03b7\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7"
ARMENIAN_LOOKALIKES = "\u0585\u057d\u0578\u0570\u0563\u0566\u0581"
SMALL_CAPITALS = (  # small capitals
    "\u1d00\u0299\u1d04\u1d05\u1d07\ua730\u0262\u029c\u026a\u1d0a\u1d0b\u029f"
    "\u1d0d\u0274\u1d0f\u1d18\u0280\ua731\u1d1b\u1d1c\u1d20\u1d21\u028f\u1d22"
)
LATIN_LOOKALIKES = "\u0131\u0269\u0251\u0261\u00f8\u0142\u0111\u0127\u0167\u0180\u0268\u0289"
SMALL_LOOKALIKES = {
    **dict(zip(CYRILLIC_LOOKALIKES, "abcehhijklmnoqprstyvwxd", strict=True)),
    **dict(zip(GREEK_LOOKALIKES, "abyeznikmvoptux", strict=True)),
    **dict(zip(ARMENIAN_LOOKALIKES, "ounhqqg", strict=True)),
    **dict(zip(SMALL_CAPITALS, "abcdefghijklmnoprstuvwyz", strict=True)),
    **dict(zip(LATIN_LOOKALIKES, "iiagoldhtbiu", strict=True)),
    "\u00e6": "ae",
    "\u0153": "oe",
}
UPPER_TABLE, LOWER_TABLE = str.maketrans(CAPITAL_LOOKALIKES), str.maketrans(SMALL_LOOKALIKES)


@dataclass(frozen=True)
class NormalisedText:
    """A text as it is compared with others. Two texts of one form are near-duplicates."""

    text: str
    numbers: tuple[str, ...]  # numbers and signs that have to be equal; () where numbers are folded or there are none
    is_comparable: bool  # False for texts without a letter: they are alike only where they are equal


def fold_text(text: str) -> str:
    """A text without its case and white space (and in Unicode's NFC): texts equal in it are exact duplicates."""
    return " ".join(unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).split())


def normalise_text(text: str) -> NormalisedText:
    """Unseen characters, accents and signs go, look-alikes become Latin letters, numbers 0 where enough words stand.

    Enough are five words for each number. Two letters of a script without spaces count as a word.
    """
    seen = unicodedata.normalize("NFKD", INVISIBLE.sub("", text))
    bare = unicodedata.normalize("NFKC", ACCENTS.sub("", seen))
    folded = bare.translate(UPPER_TABLE).casefold().translate(LOWER_TABLE)
    if not LETTER.search(folded):
        return NormalisedText(" ".join(folded.split()) or fold_text(text), (), is_comparable=False)
    plain = NON_WORD.sub(" ", folded).strip()
    numbers = len(NUMBER.findall(plain))
    if not numbers:
        return NormalisedText(plain, (), is_comparable=True)
    words = len(WORD.findall(plain)) + len(UNSPACED_LETTER.findall(plain)) // 2
    if words >= MIN_WORDS_PER_NUMBER * numbers:
        return NormalisedText(NUMBER.sub("0", plain), (), is_comparable=True)
    return NormalisedText(plain, tuple(NUMBER_OR_SIGN.findall(folded)), is_comparable=True)
