"""What the engine asks of a predictor beyond the protocol: capabilities, each a protocol of its own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol, TypeGuard, cast

from loratory.protocols import (
    Backbone,
    BudgetedPredictor,
    Input,
    Network,
    NetworkPredictor,
    Plannable,
    Prediction,
    RequestRunner,
    Task,
    WrappingPredictor,
)


class ServedPredictor(Protocol):
    """What serving needs of a predictor: a `Predictor`, or what stands around one for a single request."""

    @property
    def task(self) -> Task: ...
    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        """One prediction per input, in order; never raises for a bad answer."""


class PlannedPredictor(ServedPredictor, Plannable, Protocol):
    """One that asks once for all that it needs."""


_KINDS: dict[tuple[type, type], bool] = {}  # (class, protocol) -> whether its instances have it


def _has_capability(predictor: object, protocol: type) -> bool:
    """Isinstance for a protocol, looked up once for each class: it costs 15 us, and is asked of every request."""
    key = (type(predictor), protocol)
    known = _KINDS.get(key)
    if known is None:
        known = _KINDS[key] = isinstance(predictor, protocol)
    return known


def unwrap_predictor(predictor: object) -> object:
    """Without what stands around it, such as an operating point."""
    while _has_capability(predictor, WrappingPredictor):
        predictor = cast("WrappingPredictor", predictor).predictor
    return predictor


def is_plannable(predictor: ServedPredictor) -> TypeGuard[PlannedPredictor]:
    """Whether it asks once for all that it needs. Looked up once for each class: it is asked of every request."""
    return _is_plannable_class(type(predictor))


@cache
def _is_plannable_class(kind: type) -> bool:
    return issubclass(kind, Plannable)


def network_of(predictor: object) -> Network | None:
    """The network that a predictor stands on, if any."""
    inner = unwrap_predictor(predictor)
    return cast("NetworkPredictor", inner).network if _has_capability(inner, NetworkPredictor) else None


def backbone_of(predictor: object) -> Backbone | None:
    """The backbone that a predictor asks; None where it needs none."""
    network = network_of(predictor)
    return None if network is None else network.backbone


def max_new_tokens_of(predictor: object) -> int:
    """Tokens that it may write behind an input; 0 where its answers are not written."""
    inner = unwrap_predictor(predictor)
    return cast("BudgetedPredictor", inner).max_new_tokens if _has_capability(inner, BudgetedPredictor) else 0


def incremental_cost_of(predictor: object) -> float:
    """The part of a pass (0 to 1) that the predictor needs for itself where its texts are in the batch already."""
    network = network_of(predictor)
    return 1.0 if network is None else network.backbone.incremental_cost(network)
