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
COMMON_WORDS = json.loads((Path(__file__).parent / "common_words.json").read_text(encoding="utf-8"))
FUNCTION_WORDS = {language: frozenset(words.split()) for language, words in COMMON_WORDS["function"].items()}
EVERYDAY_WORDS: Mapping[str, str] = COMMON_WORDS["everyday"]
OTHER_SCRIPTS: Mapping[str, str] = COMMON_WORDS["scripts"]
MAX_SAMPLE_TEXTS = 2000  # texts, evenly over all
MAX_TEXTS_PER_LANGUAGE = 200  # texts of a language whose tokens are counted
MAX_CHARACTERS = 1000  # characters of a text that are looked at
MIN_FUNCTION_WORD_SHARE = 0.15  # share of words that have to be function words of a language
MIN_LEAD_RATIO = 1.2  # times as many as those of any other language
MIN_RECOGNISED_SHARE = 0.5  # share of texts below which their languages are not known
MIN_LANGUAGE_SHARE = 0.2  # share of the texts from which a language is spoken of
UNFIT_PIECES_RATIO = (
    1.7  # pieces of a language's everyday words over those of the base's own: 1.8 is English MiniLM on French
)
KNOWN_PIECES_RATIO = 1.6  # up to this the base knows the language
MIN_MULTILINGUAL_LANGUAGES = 4  # languages that a multilingual base knows at least
OWN_PIECES_RATIO = 1.25  # up to this it is one of the base's own
FOREIGN_PIECES = (
    1.5  # pieces of everyday words from which a base that knows another script was not written for Latin letters
)
TOY_VOCABULARY_PIECES = 2.5  # pieces from which a vocabulary is too small to tell
UNRECOGNISED_PIECES_RATIO = (
    2.5  # pieces of the texts' own words over those of the base's language, where no language is recognised
)
MAX_UNKNOWN_LETTER_SHARE = 0.1  # share of letters that are unknown to the base
MAX_TOKENS_PER_LETTER = (
    0.8  # tokens a letter of an alphabet: 1 where each letter is cut off, 0.3 to 0.5 where words are known
)
MAX_TOKENS_PER_SYLLABLE = 1.3  # tokens a letter where a letter is a word or a syllable; bert-base-chinese has 1
MULTILINGUAL_TOLERANCE = 1.5  # times these, of a multilingual base
WORD_PATTERN = re.compile(r"[^\W\d_]+")
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
SCRIPTS_OF_ONE_LANGUAGE = frozenset(
    {"Greek", "Arabic", "Hebrew", "Chinese", "Japanese", "Korean", "Thai", "Lao", "Khmer", "Burmese"}
)
ALPHABETS = frozenset({"Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Armenian", "Georgian"})
MULTILINGUAL_BASE = "intfloat/multilingual-e5-small"
GENERATIVE_BASE = "Qwen/Qwen3-0.6B"


class SubwordTokenizer(Protocol):
    """What is asked of a base's tokenizer (models.tokenizers.FastTokenizer)."""

    def tokenize_with_offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int, bool]]]:
        """Of each text its tokens: first character, the one behind the last, and whether the token is unknown."""


def detect_language(text: str) -> str:
    """The language's name; that of a script ("Cyrillic") where no more is known; "" where nothing tells."""
    script = _find_main_script(text[:MAX_CHARACTERS])
    if script != "Latin":
        return script
    words = [word.casefold() for word in WORD_PATTERN.findall(text[:MAX_CHARACTERS])]
    hits = Counter({name: sum(word in known for word in words) for name, known in FUNCTION_WORDS.items()})
    (best, most), (_, next_most) = hits.most_common(2)
    clear = most >= 2 and most >= MIN_FUNCTION_WORD_SHARE * len(words) and most >= MIN_LEAD_RATIO * next_most
    return best if clear else ""


def inspect_languages(
    texts: Sequence[str], origins: Sequence[str], bases: Mapping[str, SubwordTokenizer], generates: bool = False
) -> dict[str, Any]:
    """The report's part on languages.

    {"found": [{"language", "texts", "share", "first"}], "unnamed": share of texts that no language was recognised in,
    "bases": {base: {"languages": those it was written for, "multilingual", "unfit": [{"language", "pieces", "own",
    "unit", "unknown"}]}}}. `pieces` are tokens a word, or a letter (`unit`), `own` those of the base's own language,
    `unknown` is the share of letters that the base does not know. Texts of several languages have each that a fifth of
    the recognised ones are in; `language` is "" where hardly any is recognised. `writes`: the base that is
    suggested has to write.
    """
    step = max(1, len(texts) // MAX_SAMPLE_TEXTS)
    sample = [(origin, text, detect_language(text)) for origin, text in list(zip(origins, texts, strict=True))[::step]]
    counts = Counter(language for _, _, language in sample)
    unnamed = counts.pop("", 0)
    known = max(1, counts.total())
    often = [(name, count) for name, count in counts.most_common() if count >= MIN_LANGUAGE_SHARE * known]
    if counts.total() < MIN_RECOGNISED_SHARE * len(sample):
        often = []
    first = {language: origin for origin, _, language in reversed(sample)}
    found = [{"language": name, "texts": n, "share": n / known, "first": first[name]} for name, n in often]
    spoken = [name for name, _ in often] or [""]
    groups = {
        name: [text[:MAX_CHARACTERS] for _, text, one in sample if one == name][:MAX_TEXTS_PER_LANGUAGE]
        for name in spoken
    }
    return {
        "found": found,
        "unnamed": unnamed / max(1, len(sample)),
        "bases": {name: _check_base_languages(base, groups) for name, base in bases.items()},
        "suggested": GENERATIVE_BASE if generates else MULTILINGUAL_BASE,
    }


def warn_of_languages(found: Mapping[str, Any] | None) -> Iterable[tuple[str, str]]:
    """Which base was not written for the texts, and which one to take."""
    if found is None:
        return
    about = {one["language"]: one for one in found["found"]}
    for base, judged in found["bases"].items():
        for one in judged["unfit"]:
            yield (
                f"{_describe_texts(one, about)} {base}: {_describe_pieces(one, judged['languages'])}",
                f"take a base of that language, or a multilingual one, such as base: {found['suggested']}",
            )


def _describe_texts(unfit: Mapping[str, Any], found_languages: Mapping[str, Any]) -> str:
    name = unfit["language"]
    if not name:
        return (
            "the texts are names, terms or of a language that is not known here, and their words not those of the base"
        )
    where = found_languages[name]
    script = "" if name in FUNCTION_WORDS or name in SCRIPTS_OF_ONE_LANGUAGE else " script"
    return (
        f"{where['share']:.0%} of the texts are in {name}{script}, first {where['first']}, "
        "which is not a language of the base"
    )


def _describe_pieces(unfit: Mapping[str, Any], base_languages: Sequence[str]) -> str:
    words = "common words" if unfit["unit"] == "word" and unfit["language"] else f"{unfit['unit']}s"
    beside = f" ({unfit['own']:.1f} of {base_languages[0]})" if base_languages and unfit["unit"] == "word" else ""
    lost = (
        f"; it does not know {unfit['unknown']:.0%} of the letters"
        if unfit["unknown"] > MAX_UNKNOWN_LETTER_SHARE
        else ""
    )
    return f"its tokenizer makes {unfit['pieces']:.1f} pieces of a {words[:-1]}{beside}{lost}"


def _check_base_languages(base: SubwordTokenizer, texts_by_language: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """What the base was written for, and those groups of texts that it was not: language -> texts."""
    everyday = measure_everyday_words(base)
    best = min(everyday.values())
    scripts = [
        name
        for name, words in OTHER_SCRIPTS.items()
        if _knows_script(name, *_measure_pieces_per_letter(base, [words]), 1.0)
    ]
    latin = best < FOREIGN_PIECES or (not scripts and best < TOY_VOCABULARY_PIECES)
    other = not latin and (
        best < TOY_VOCABULARY_PIECES or not ALPHABETS.isdisjoint(scripts)
    )  # not one token for each letter of any script
    multilingual = (
        latin and sum(pieces <= KNOWN_PIECES_RATIO * best for pieces in everyday.values()) >= MIN_MULTILINGUAL_LANGUAGES
    )
    own = [
        name
        for name in sorted(everyday, key=lambda name: everyday[name])
        if latin and everyday[name] <= OWN_PIECES_RATIO * best
    ]
    unfit = []
    for name, texts in texts_by_language.items():
        measured = {"language": name, "own": best, "unit": "word", "unknown": 0.0}
        if name and name not in EVERYDAY_WORDS:
            pieces, lost = _measure_pieces_per_letter(base, texts)
            if not _knows_script(name, pieces, lost, MULTILINGUAL_TOLERANCE if multilingual else 1.0):
                unfit.append({**measured, "pieces": pieces, "unit": "letter", "unknown": lost})
        elif latin or (other and scripts):
            pieces = everyday[name] if name else measure_pieces_per_word(base, texts, 4)
            most = (UNFIT_PIECES_RATIO if name else UNRECOGNISED_PIECES_RATIO) * best if latin else FOREIGN_PIECES
            if not multilingual and pieces >= most:
                unfit.append({**measured, "pieces": pieces})
    more = scripts if multilingual or other else ()
    return {"languages": [*own, *more], "multilingual": multilingual, "unfit": unfit}


def measure_everyday_words(base: SubwordTokenizer) -> dict[str, float]:
    """Language -> the pieces that a tokenizer makes of one of its everyday words, the mean."""
    return {name: measure_pieces_per_word(base, [f"x {words}"], 1) for name, words in EVERYDAY_WORDS.items()}


def _knows_script(script: str, pieces: float, unknown_share: float, tolerance: float) -> bool:
    return unknown_share <= MAX_UNKNOWN_LETTER_SHARE and pieces <= tolerance * (
        MAX_TOKENS_PER_LETTER if script in ALPHABETS else MAX_TOKENS_PER_SYLLABLE
    )


def measure_pieces_per_word(base: SubwordTokenizer, texts: Sequence[str], min_letters: int) -> float:
    """Tokens of a word of `least` letters or more, the mean, without each text's first word; unknown letters count."""
    pieces = words = 0
    for text, tokens in zip(texts, base.tokenize_with_offsets(texts), strict=True):
        at: Counter[int] = Counter()
        for start, end, unknown in tokens:
            for place in range(start, end) if unknown else (max(start, end - 1),):
                at[place] += 1
        for word in list(WORD_PATTERN.finditer(text))[1:]:
            if len(word.group()) >= min_letters:
                words += 1
                pieces += sum(at[place] for place in range(word.start(), word.end()))
    return pieces / max(1, words)


def _measure_pieces_per_letter(base: SubwordTokenizer, texts: Sequence[str]) -> tuple[float, float]:
    """Tokens that hold a letter, and letters in unknown tokens, over all letters."""
    letters = pieces = lost = 0
    for text, tokens in zip(texts, base.tokenize_with_offsets(texts), strict=True):
        letters += sum(map(str.isalpha, text))
        for start, end, unknown in tokens:
            inside = sum(map(str.isalpha, text[start:end]))
            pieces += inside > 0
            lost += inside if unknown else 0
    return pieces / max(1, letters), lost / max(1, letters)


def _find_main_script(text: str) -> str:
    """The script of most letters; Chinese signs beside Japanese or Korean ones are of that language."""
    counts = Counter(map(_get_script, filter(str.isalpha, text)))
    for name in ("Japanese", "Korean"):
        if counts[name] >= MIN_LANGUAGE_SHARE * counts["Chinese"]:
            counts[name] += counts.pop("Chinese", 0)
    name, most = max(counts.items(), key=lambda item: item[1], default=("", 0))
    return name if most > counts.total() / 2 else ""


@cache
def _get_script(letter: str) -> str:
    return SCRIPTS.get(unicodedata.name(letter, "").split(" ")[0].split("-")[0], "")
