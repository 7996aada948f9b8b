"""The languages of the texts, and whether a base was written for them: measured by its tokenizer.

A tokenizer keeps common words of its own languages whole and cuts those of others into pieces (Rust et al. 2021, "How
good is your tokenizer?", section 3.3). So a base's languages are those whose everyday words it cuts the least, whatever
the texts are about: medical English is English. Letters of a script that the base was not written for become a token
each, several bytes, or unknown.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

# Written for this: function words (by which a text in Latin letters is known to be of a language, in small letters),
# everyday words (nouns, verbs, adjectives of ordinary texts, as inside of a sentence), and such in other scripts.
WORDS = json.loads((Path(__file__).parent / "common_words.json").read_text(encoding="utf-8"))
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in WORDS["function"].items()}
EVERYDAY_WORDS: Mapping[str, str] = WORDS["everyday"]
OTHER_SCRIPTS: Mapping[str, str] = WORDS["scripts"]
LOOKED_AT = 2000  # texts, evenly over all
MEASURED = 200  # texts of a language whose tokens are counted
LONG = 1000  # characters of a text that are looked at
FUNCTION = 0.15  # share of words that have to be function words of a language
CLEAR = 1.2  # times as many as those of any other language
FEW = 0.5  # share of texts below which their languages are not known
OFTEN = 0.2  # share of the texts from which a language is spoken of
CUT = 1.7  # pieces of a language's everyday words over those of the base's own: 1.8 is English MiniLM on French
KNOWN = 1.6  # up to this the base knows the language
MANY = 4  # languages that a multilingual base knows at least
OWN = 1.25  # up to this it is one of the base's own
FOREIGN = 1.5  # pieces of everyday words from which a base that knows another script was not written for Latin letters
TOY = 2.5  # pieces from which a vocabulary is too small to tell
UNNAMED = 2.5  # pieces of the texts' own words over those of the base's language, where no language is recognised
LOST = 0.1  # share of letters that are unknown to the base
LETTERS = 0.8  # tokens a letter of an alphabet: 1 where each letter is cut off, 0.3 to 0.5 where words are known
SYLLABIC = 1.3  # tokens a letter where a letter is a word or a syllable; bert-base-chinese has 1
GENEROUS = 1.5  # times these, of a multilingual base
WORD = re.compile(r"[^\W\d_]+")
SCRIPTS = {  # first word of a character's Unicode name -> what a person calls it
    "LATIN": "Latin",
    "CYRILLIC": "Cyrillic",
    "GREEK": "Greek",
    "ARABIC": "Arabic",
    "HEBREW": "Hebrew",
    "CJK": "Chinese",
    "HIRAGANA": "Japanese",
    "KATAKANA": "Japanese",
    "HANGUL": "Korean",
    "THAI": "Thai",
    "LAO": "Lao",
    "KHMER": "Khmer",
    "MYANMAR": "Burmese",
    "ARMENIAN": "Armenian",
    "GEORGIAN": "Georgian",
    "DEVANAGARI": "Devanagari",
    "BENGALI": "Bengali",
    "TAMIL": "Tamil",
    "TELUGU": "Telugu",
    "ETHIOPIC": "Ethiopic",
}
NAMED = frozenset({"Greek", "Arabic", "Hebrew", "Chinese", "Japanese", "Korean", "Thai", "Lao", "Khmer", "Burmese"})
ALPHABETS = frozenset({"Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Armenian", "Georgian"})
MULTILINGUAL = "intfloat/multilingual-e5-small"
WRITER = "Qwen/Qwen3-0.6B"


class Cutter(Protocol):
    """What is asked of a base's tokenizer (models.tokenizers.FastTokenizer)."""

    def pieces(self, texts: Sequence[str]) -> list[list[tuple[int, int, bool]]]:
        """Of each text its tokens: first character, the one behind the last, and whether the token is unknown."""


def language_of(text: str) -> str:
    """The language's name; that of a script ("Cyrillic") where no more is known; "" where nothing tells."""
    script = _main_script(text[:LONG])
    if script != "Latin":
        return script
    words = [word.casefold() for word in WORD.findall(text[:LONG])]
    hits = Counter({name: sum(word in known for word in words) for name, known in FUNCTION_WORDS.items()})
    (best, most), (_, next_most) = hits.most_common(2)
    clear = most >= 2 and most >= FUNCTION * len(words) and most >= CLEAR * next_most
    return best if clear else ""


def inspect_languages(
    texts: Sequence[str], origins: Sequence[str], bases: Mapping[str, Cutter], writes: bool = False
) -> dict[str, Any]:
    """The report's part on languages.

    {"found": [{"language", "texts", "share", "first"}], "unnamed": share of texts that no language was recognised in,
    "bases": {base: {"languages": those it was written for, "multilingual", "unfit": [{"language", "pieces", "own",
    "unit", "unknown"}]}}}. `pieces` are tokens a word, or a letter (`unit`), `own` those of the base's own language,
    `unknown` is the share of letters that the base does not know. Texts of several languages have each that a fifth of
    the recognised ones are in; `language` is "" where hardly any is recognised. `writes`: the base that is
    suggested has to write.
    """
    step = max(1, len(texts) // LOOKED_AT)
    sample = [(origin, text, language_of(text)) for origin, text in list(zip(origins, texts, strict=True))[::step]]
    counts = Counter(language for _, _, language in sample)
    unnamed = counts.pop("", 0)
    known = max(1, counts.total())
    often = [(name, count) for name, count in counts.most_common() if count >= OFTEN * known]
    if counts.total() < FEW * len(sample):
        often = []
    first = {language: origin for origin, _, language in reversed(sample)}
    found = [{"language": name, "texts": n, "share": n / known, "first": first[name]} for name, n in often]
    spoken = [name for name, _ in often] or [""]
    groups = {name: [text[:LONG] for _, text, one in sample if one == name][:MEASURED] for name in spoken}
    return {
        "found": found,
        "unnamed": unnamed / max(1, len(sample)),
        "bases": {name: _judge(base, groups) for name, base in bases.items()},
        "suggested": WRITER if writes else MULTILINGUAL,
    }


def warn(found: Mapping[str, Any] | None) -> Iterable[tuple[str, str]]:
    """Which base was not written for the texts, and which one to take."""
    if found is None:
        return
    about = {one["language"]: one for one in found["found"]}
    for base, judged in found["bases"].items():
        for one in judged["unfit"]:
            yield (
                f"{_texts(one, about)} {base}: {_measure(one, judged['languages'])}",
                f"take a base of that language, or a multilingual one, such as base: {found['suggested']}",
            )


def _texts(one: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    name = one["language"]
    if not name:
        return (
            "the texts are names, terms or of a language that is not known here, and their words not those of the base"
        )
    where = about[name]
    script = "" if name in FUNCTION_WORDS or name in NAMED else " script"
    return (
        f"{where['share']:.0%} of the texts are in {name}{script}, first {where['first']}, "
        "which is not a language of the base"
    )


def _measure(one: Mapping[str, Any], own: Sequence[str]) -> str:
    words = "common words" if one["unit"] == "word" and one["language"] else f"{one['unit']}s"
    beside = f" ({one['own']:.1f} of {own[0]})" if own and one["unit"] == "word" else ""
    lost = f"; it does not know {one['unknown']:.0%} of the letters" if one["unknown"] > LOST else ""
    return f"its tokenizer makes {one['pieces']:.1f} pieces of a {words[:-1]}{beside}{lost}"


def _judge(base: Cutter, groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the base was written for, and those groups of texts that it was not: language -> texts."""
    everyday = measure_everyday_words(base)
    best = min(everyday.values())
    scripts = [name for name, words in OTHER_SCRIPTS.items() if _knows(name, *_pieces_of_letters(base, [words]), 1.0)]
    latin = best < FOREIGN or (not scripts and best < TOY)
    other = not latin and (
        best < TOY or not ALPHABETS.isdisjoint(scripts)
    )  # not one token for each letter of any script
    multilingual = latin and sum(pieces <= KNOWN * best for pieces in everyday.values()) >= MANY
    own = [name for name in sorted(everyday, key=lambda name: everyday[name]) if latin and everyday[name] <= OWN * best]
    unfit = []
    for name, texts in groups.items():
        measured = {"language": name, "own": best, "unit": "word", "unknown": 0.0}
        if name and name not in EVERYDAY_WORDS:
            pieces, lost = _pieces_of_letters(base, texts)
            if not _knows(name, pieces, lost, GENEROUS if multilingual else 1.0):
                unfit.append({**measured, "pieces": pieces, "unit": "letter", "unknown": lost})
        elif latin or (other and scripts):
            pieces = everyday[name] if name else _pieces_of_words(base, texts, 4)
            most = (CUT if name else UNNAMED) * best if latin else FOREIGN
            if not multilingual and pieces >= most:
                unfit.append({**measured, "pieces": pieces})
    more = scripts if multilingual or other else ()
    return {"languages": [*own, *more], "multilingual": multilingual, "unfit": unfit}


def measure_everyday_words(base: Cutter) -> dict[str, float]:
    """Language -> the pieces that a tokenizer makes of one of its everyday words, the mean."""
    return {name: _pieces_of_words(base, [f"x {words}"], 1) for name, words in EVERYDAY_WORDS.items()}


def _knows(script: str, pieces: float, lost: float, generous: float) -> bool:
    return lost <= LOST and pieces <= generous * (LETTERS if script in ALPHABETS else SYLLABIC)


def _pieces_of_words(base: Cutter, texts: Sequence[str], least: int) -> float:
    """Tokens of a word of `least` letters or more, the mean, without each text's first word; unknown letters count."""
    pieces = words = 0
    for text, tokens in zip(texts, base.pieces(texts), strict=True):
        at: Counter[int] = Counter()
        for start, end, unknown in tokens:
            for place in range(start, end) if unknown else (max(start, end - 1),):
                at[place] += 1
        for word in list(WORD.finditer(text))[1:]:
            if len(word.group()) >= least:
                words += 1
                pieces += sum(at[place] for place in range(word.start(), word.end()))
    return pieces / max(1, words)


def _pieces_of_letters(base: Cutter, texts: Sequence[str]) -> tuple[float, float]:
    """Tokens that hold a letter, and letters in unknown tokens, over all letters."""
    letters = pieces = lost = 0
    for text, tokens in zip(texts, base.pieces(texts), strict=True):
        letters += sum(map(str.isalpha, text))
        for start, end, unknown in tokens:
            inside = sum(map(str.isalpha, text[start:end]))
            pieces += inside > 0
            lost += inside if unknown else 0
    return pieces / max(1, letters), lost / max(1, letters)


def _main_script(text: str) -> str:
    """The script of most letters; Chinese signs beside Japanese or Korean ones are of that language."""
    counts = Counter(map(_script, filter(str.isalpha, text)))
    for name in ("Japanese", "Korean"):
        if counts[name] >= OFTEN * counts["Chinese"]:
            counts[name] += counts.pop("Chinese", 0)
    name, most = max(counts.items(), key=lambda item: item[1], default=("", 0))
    return name if most > counts.total() / 2 else ""


@cache
def _script(letter: str) -> str:
    return SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0].split("-")[0], "")
