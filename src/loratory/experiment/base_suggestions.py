"""Which base the texts ask for, with what was measured. Nothing is chosen for anybody: the spec stays as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from loratory.backbones.loading.base_catalogue import CatalogueBase, choose_catalogue_base, read_catalogue
from loratory.backbones.loading.bases import Base, resolve_base
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.data.dataset import Dataset
from loratory.data.quality.languages import (
    FUNCTION_WORDS,
    MAX_CHARACTERS,
    MAX_SAMPLE_TEXTS,
    MAX_TEXTS_PER_LANGUAGE,
    UNFIT_PIECES_RATIO,
    UNRECOGNISED_PIECES_RATIO,
    inspect_languages,
    measure_everyday_words,
    measure_pieces_per_word,
)
from loratory.data.quality.letter_case import (
    MIN_CASE_LEAD,
    MIN_SAME_SHARE,
    measure_lower_casing,
    measure_span_case,
)
from loratory.data.quality.quality_warnings import MAX_TRUNCATED_SHARE
from loratory.errors import BaseModelError, MissingExtra
from loratory.protocols import Conversational, Spanned
from loratory.specs.spec import DEFAULT_BASE, Spec

ANY_LANGUAGE = "a language that is not recognised"  # known only to a base of many languages
MIN_WORD_LETTERS = 4  # shorter words are whole in any tokenizer


@dataclass(frozen=True)
class BaseFinding:
    """One thing that was measured, and what a base has to have for it."""

    about: str  # task | language | case | length | pieces
    measured: str
    texts: int  # how many it was measured on
    threshold: str
    asks_for: str | None = None  # None: the base has it


@dataclass(frozen=True)
class BaseNeeds:
    """What the texts ask of a base that the measured one does not have, or that a better one has to keep."""

    kind: str
    languages: tuple[str, ...] = ()
    cased: bool = False
    window: int | None = None  # tokens; None: the present one is long enough
    present_window: int = 0  # of the measured base


@dataclass(frozen=True)
class BaseSuggestion:
    """The base that fits the texts, beside the one that was measured."""

    base: str  # the spec's, whose tokenizer was measured
    suggested: str | None  # the same where it has all; None where the catalogue has no better one
    findings: tuple[BaseFinding, ...]
    unmet: tuple[str, ...] = ()  # what the suggested base does not have either

    @property
    def keeps(self) -> bool:
        """Whether nothing asks for another base."""
        return self.suggested == self.base

    def to_json(self) -> dict[str, Any]:
        """The suggestion as JSON."""
        return {**asdict(self), "keeps": self.keeps}


@dataclass(frozen=True)
class _Measured:
    """A base with its tokenizer, and the texts that it is measured on, evenly over all."""

    base: Base
    tokenizer: FastTokenizer
    texts: tuple[str, ...]
    languages: Mapping[str, Any]  # of languages.inspect_languages


def suggest_spec_base(spec: Spec, train: Dataset, languages: Mapping[str, Any] | None = None) -> BaseSuggestion:
    """The base for a spec's train texts; measured with the first base of its ladder, else with the default one.

    Raises BaseModelError and MissingExtra where that base cannot be read.
    """
    name = next((one.base for one in spec.ladder if one.base), DEFAULT_BASE)
    return suggest_base(name, train, languages)


def suggest_base(name: str, train: Dataset, languages: Mapping[str, Any] | None = None) -> BaseSuggestion:
    """The base for these examples; `languages` is what is known of them, else they are looked at here.

    Raises BaseModelError and MissingExtra where the base called `name` cannot be read.
    """
    base = resolve_base(name)
    tokenizer = FastTokenizer.load(base.files, base.config.get("max_position_embeddings"))
    task, whole = train.task, read_texts(train)
    generates = isinstance(task, Conversational)
    if languages is None or name not in languages["bases"]:
        origins = [one.origin for one in train]
        languages = inspect_languages(whole, origins, {name: tokenizer}, generates)
    measured = _Measured(base, tokenizer, whole[:: max(1, len(whole) // MAX_SAMPLE_TEXTS)], languages)
    needs = BaseNeeds("causal" if generates or base.kind == "causal" else "encoder")
    findings = [_check_task(measured, generates)]
    language, spoken = _check_languages(measured)
    pieces = _check_pieces(measured)
    needs = replace(needs, languages=(*spoken, *([ANY_LANGUAGE] if pieces and pieces.asks_for else [])))
    findings += [one for one in (language, pieces) if one]
    if isinstance(task, Spanned):
        case = _check_case(measured, train)
        needs = replace(needs, cased=case is not None and case.asks_for is not None)
        findings += [case] if case else []
    length, window = _check_length(measured, reads_windows=isinstance(task, Spanned))
    return _choose(name, tuple([*findings, length]), replace(needs, window=window, present_window=tokenizer.max_length))


def read_texts(examples: Dataset) -> tuple[str, ...]:
    """The text of each example, as its task reads it."""
    if isinstance(examples.task, Spanned):
        return tuple(examples.task.text(one.input) for one in examples)
    return examples.texts


def format_suggestion(found: BaseSuggestion) -> list[str]:
    """The suggestion for the screen: the base, then what was measured."""
    if found.keeps:
        head = f"base: {found.base}   nothing in the texts asks for another base"
    elif found.suggested is None:
        head = f"base: {found.base} does not have all that the texts ask for, and no base of the catalogue does"
    else:
        head = f"base: {found.suggested}   suggested in place of {found.base}; compare both in one ladder"
    lines = [head]
    for one in found.findings:
        asked = f"asks for {one.asks_for}" if one.asks_for else "no reason for another base"
        lines += [f"{one.about:<9} {one.measured}", f"{'':<9} {one.texts:,} texts; {one.threshold}: {asked}"]
    return lines + [f"not met   {found.suggested} has not {what}" for what in found.unmet]


def _choose(name: str, findings: tuple[BaseFinding, ...], needs: BaseNeeds) -> BaseSuggestion:
    """The smallest base of the catalogue with all needs, else one without a longer window, else without case."""
    if not any(one.asks_for for one in findings):
        return BaseSuggestion(name, name, findings)
    steps: list[tuple[BaseNeeds, tuple[str, ...]]] = [(needs, ())]
    if needs.window:
        missed = (f"a window of {needs.window:,} tokens",)
        steps += [
            (replace(needs, window=window), missed) for window in _list_windows(needs.present_window, needs.window)
        ]
        steps.append((replace(needs, window=None), missed))
    if needs.cased:
        unmet = (*steps[-1][1], "capital letters")
        steps.append((replace(steps[-1][0], cased=False), unmet))
    for asked, unmet in steps:
        found: CatalogueBase | None = choose_catalogue_base(asked.kind, asked.languages, asked.cased, asked.window)
        if found is not None and found.name != name:
            return BaseSuggestion(name, found.name, findings, unmet)
    return BaseSuggestion(name, None, findings)


def _list_windows(above: int, below: int) -> list[int]:
    """The windows of the catalogue between both, the longest first."""
    known = {base.window for base in read_catalogue() if base.window is not None}
    return sorted((window for window in known if above < window < below), reverse=True)


def _check_task(measured: _Measured, generates: bool) -> BaseFinding:
    what = "the answers are written" if generates else "the answers are labels or spans, which any base can give"
    kind = "a base that can write" if measured.base.kind == "causal" else "an encoder, which cannot write"
    asks = "a base that can write" if generates and measured.base.kind != "causal" else None
    return BaseFinding(
        "task", f"{what}; {measured.base.name} is {kind}", len(measured.texts), "written answers need one", asks
    )


def _check_languages(measured: _Measured) -> tuple[BaseFinding, tuple[str, ...]]:
    """The finding, and the languages that the suggested base has to know."""
    found, judged = measured.languages["found"], measured.languages["bases"][measured.base.name]
    spoken = ", ".join(f"{one['language']} {one['share']:.0%}" for one in found) or "no language is recognised"
    known = "many" if judged["multilingual"] else " and ".join(judged["languages"][:3]) or "none that is known here"
    unfit = [one["language"] or ANY_LANGUAGE for one in judged["unfit"]]
    pieces = "".join(f"; {one['pieces']:.1f} tokens a {one['unit']} of {one['language']}" for one in judged["unfit"])
    finding = BaseFinding(
        "language",
        f"{spoken}; languages of {measured.base.name}: {known}{pieces}",
        len(measured.texts),
        f"unfit from {UNFIT_PIECES_RATIO} times the tokens of a word of its own language",
        f"a base of {' and '.join(unfit)}" if unfit else None,
    )
    return finding, tuple(one["language"] for one in found) or tuple(unfit)


def _check_pieces(measured: _Measured) -> BaseFinding | None:
    """How far the words are cut; None where the texts have no words of Latin letters."""
    unfit = measured.languages["bases"][measured.base.name]["unfit"]  # then the language says it already
    languages = [one["language"] for one in measured.languages["found"]]
    if not all(name in FUNCTION_WORDS for name in languages):
        return None
    texts = [text[:MAX_CHARACTERS] for text in measured.texts[:MAX_TEXTS_PER_LANGUAGE]]
    usual = min(measure_everyday_words(measured.tokenizer).values())
    pieces = measure_pieces_per_word(measured.tokenizer, texts, MIN_WORD_LETTERS)
    return BaseFinding(
        "pieces",
        f"{measured.base.name} makes {pieces:.2f} tokens of a word, and {usual:.2f} of an everyday word it knows",
        len(texts),
        f"unfit from {UNRECOGNISED_PIECES_RATIO} times as many",
        "a larger vocabulary" if pieces >= UNRECOGNISED_PIECES_RATIO * usual and not unfit else None,
    )


def _check_case(measured: _Measured, train: Dataset) -> BaseFinding | None:
    """Whether capitals tell spans, and the base reads them; None where too few words are in spans."""
    task = train.task
    spans = [task.spans_of(one.answer) if one.answer is not None else () for one in train]
    case = measure_span_case(read_texts(train), spans)
    if case is None:
        return None
    same, mixed = measure_lower_casing(measured.tokenizer, measured.texts[:MAX_TEXTS_PER_LANGUAGE])
    reads = f"{measured.base.name} gives {same:.0%} of {mixed:,} texts the same tokens in small letters"
    lower_cases = mixed > 0 and same >= MIN_SAME_SHARE
    return BaseFinding(
        "case",
        f"{case.inside:.0%} of the {case.words:,} words of {case.label} begin with a capital letter inside of a "
        f"sentence, {case.outside:.0%} of all words outside of spans; {reads}",
        case.texts,
        f"from {100 * MIN_CASE_LEAD:.0f} points more, with a base that lower-cases {MIN_SAME_SHARE:.0%} of them",
        "a cased base" if case.tells_spans and lower_cases else None,
    )


def _check_length(measured: _Measured, reads_windows: bool) -> tuple[BaseFinding, int | None]:
    """The finding, and the window that is asked for: as long as 95 % of the texts."""
    limit = measured.tokenizer.max_length
    counts = sorted(measured.tokenizer.count_tokens(measured.texts))
    share = sum(count > limit for count in counts) / max(1, len(counts))
    most = counts[max(0, -(-95 * len(counts) // 100) - 1)] if counts else 0
    asks = share > MAX_TRUNCATED_SHARE and not reads_windows
    finding = BaseFinding(
        "length",
        f"{share:.1%} of the texts have more than the {limit:,} tokens of {measured.base.name}; 95 % have up to "
        f"{most:,}" + ("; spans are read in windows, so nothing is cut off" if reads_windows else ""),
        len(counts),
        f"from {MAX_TRUNCATED_SHARE:.0%} of the texts",
        f"a window of {most:,} tokens" if asks else None,
    )
    return finding, most if asks else None


def find_better_base(spec: Spec, train: Dataset, languages: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """As `suggest_spec_base`, as JSON for the quality report; None where nothing is suggested.

    A ladder without a base needs none, and a base that cannot be read is said by its contender.
    """
    if languages is None or not len(train):
        return None
    try:
        found = suggest_spec_base(spec, train, languages)
    except (BaseModelError, MissingExtra):
        return None
    return None if found.keeps else found.to_json()
