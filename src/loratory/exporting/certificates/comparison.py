"""A form beside the fit, golden by golden and stage by stage."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loratory.exporting.certificates.checksums import Floats, compare_checksums, compute_checksum
from loratory.exporting.certificates.goldens import Golden, NextTokens
from loratory.protocols.exporters import StageOutputs

MIN_PROBABILITY = 1e-12  # below it a logarithm is noise


@dataclass(frozen=True, eq=False)
class GoldenDifference:
    """How far a form is from the fit on one golden; None where the fit or the form has no such stage."""

    id: str
    tokens_equal: bool | None
    layers: tuple[float, ...]  # of checksums, by layer; the embedding first
    pooled: float | None
    logits: float | None
    dp: float | None
    dlogp: float | None
    labels_equal: bool | None  # whether the likeliest label of the text, or of every token, is the same
    margin: float | None  # of the fit: its likeliest probability less the next one; of tokens the least of those differ
    answers_equal: bool | None

    @property
    def stages(self) -> Mapping[str, float | None]:
        """Differences by the stage that they are of, in the order of the way from text to label."""
        named = {name_layer(at): far for at, far in enumerate(self.layers)}
        return {**named, "pooled": self.pooled, "logits": self.logits}


def name_layer(index: int) -> str:
    """The stage of an entry of `layers`."""
    return "embedding" if index == 0 else f"layer {index}"


def compare_golden(golden: Golden, found: StageOutputs) -> GoldenDifference:
    """A form's stages beside the fit's."""
    same_shape = found.tokens is None or tuple(found.tokens) == golden.tokens
    if golden.next is not None:
        return _compare_writer(golden, golden.next, found)
    far, dlogp = _compare_probabilities(golden, found)
    equal, margin = _compare_labels(golden, found)
    return GoldenDifference(
        golden.id,
        None if found.tokens is None else tuple(found.tokens) == golden.tokens,
        _compare_layers(golden, found) if same_shape else (),
        _compare_pooled(golden, found),
        _compare_numbers(golden.logits, found.logits),
        far,
        dlogp,
        equal,
        margin,
        _compare_answers(golden, found),
    )


def _compare_layers(golden: Golden, found: StageOutputs) -> tuple[float, ...]:
    layers = found.layers
    if not golden.layers or layers is None:
        return ()
    if len(layers) != len(golden.layers):
        return (math.inf,) * len(golden.layers)
    return tuple(_compare_states(one, expected) for one, expected in zip(layers, golden.layers, strict=True))


def _compare_states(states: Floats, expected: Sequence[float]) -> float:
    return _as_number(compare_checksums(compute_checksum(states), expected))


def _compare_pooled(golden: Golden, found: StageOutputs) -> float | None:
    if golden.pooled is None or found.pooled is None:
        return None
    return _compare_states(found.pooled, golden.pooled)


def _compare_numbers(expected: Floats | None, found: Floats | None) -> float | None:
    if expected is None or found is None:
        return None
    if expected.shape != found.shape:
        return math.inf
    return _as_number(float((np.abs(found - expected) / np.maximum(1.0, np.abs(expected))).max()))


def _compare_probabilities(golden: Golden, found: StageOutputs) -> tuple[float | None, float | None]:
    expected, got = golden.probabilities, found.probabilities
    if expected is None:
        return None, None
    if got is None:  # a form that shows neither logits nor probabilities proves nothing
        return (math.inf, math.inf) if found.logits is None else (None, None)
    if expected.shape != got.shape:
        return math.inf, math.inf
    logs = [np.log(np.maximum(one, MIN_PROBABILITY)) for one in (got, expected)]
    return _as_number(float(np.abs(got - expected).max())), _as_number(float(np.abs(logs[0] - logs[1]).max()))


def _as_number(value: float) -> float:
    """Infinity for NaN, which would compare with nothing."""
    return math.inf if math.isnan(value) else value


def _compare_labels(golden: Golden, found: StageOutputs) -> tuple[bool | None, float | None]:
    expected, got = golden.probabilities, found.probabilities
    if expected is None or got is None or expected.shape[-1] < 2:
        return None, None
    if expected.shape != got.shape:
        return False, 1.0
    rows, others = np.atleast_2d(expected), np.atleast_2d(got)
    ordered = np.sort(rows, axis=-1)
    margins, differ = ordered[:, -1] - ordered[:, -2], rows.argmax(-1) != others.argmax(-1)
    return not differ.any(), float(margins[differ].max() if differ.any() else margins.min())


def _compare_answers(golden: Golden, found: StageOutputs) -> bool | None:
    if not found.has_answer or golden.rows != 1:
        return None
    return bool(found.answer == golden.answer)


def _compare_writer(golden: Golden, expected: NextTokens, found: StageOutputs) -> GoldenDifference:
    """Of a model that writes: the log-probabilities of the tokens that the fit finds likeliest."""
    tokens_equal = None if found.tokens is None else tuple(found.tokens) == golden.tokens
    dp = dlogp = equal = margin = None
    if found.probabilities is not None:
        ids, logs = list(expected.ids), np.asarray(expected.log_probabilities)
        if max(ids) < len(found.probabilities):
            got = np.asarray(found.probabilities)[ids]
            dp = _as_number(float(np.abs(got - np.exp(logs)).max()))
            dlogp = _as_number(float(np.abs(np.log(np.maximum(got, MIN_PROBABILITY)) - logs).max()))
            equal = int(np.argmax(found.probabilities)) == ids[0]
        else:
            dp = dlogp = math.inf
            equal = False
        margin = float(np.exp(logs[0]) - np.exp(logs[1])) if len(logs) > 1 else 1.0
    return GoldenDifference(
        golden.id, tokens_equal, (), None, None, dp, dlogp, equal, margin, _compare_answers(golden, found)
    )
