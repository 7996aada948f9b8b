"""The words and the protocols (see design/001-protocols.md). Imports neither torch nor transformers.

Shapes in docstrings: B batch, T tokens, D width, L labels, N examples.
"""

from __future__ import annotations

from loratory.protocols.checks import Check
from loratory.protocols.output_adapters import OutputAdapter, Row, StockNames
from loratory.protocols.perturbations import Perturbation
from loratory.protocols.predictors import (
    GenerativePredictor,
    InferencePlan,
    OodScorer,
    ParameterCount,
    Plannable,
    Predictor,
)
from loratory.protocols.prompt_templates import (
    DecodingPlan,
    Message,
    PromptTemplate,
    PromptText,
    TokenDecoder,
)
from loratory.protocols.regimes import (
    Activations,
    CheckpointStore,
    FitContext,
    PreflightChecks,
    Regime,
    Start,
    TrainingState,
    TrainSet,
)
from loratory.protocols.requests import (
    Adapter,
    Alive,
    Backbone,
    BackbonePool,
    EncodeRequest,
    GenerateRequest,
    Generation,
    InferenceRequest,
    Network,
    RequestRunner,
    Sampling,
    ScoreRequest,
    Tokenizer,
    is_always_alive,
)
from loratory.protocols.scorers import Scorer
from loratory.protocols.scoring import ScoredPredictions, predict_and_score, sum_counts
from loratory.protocols.tasks import Conversational, Decomposable, Labelled, Optioned, Spanned, Task
from loratory.protocols.values import (
    JSON,
    Answer,
    Column,
    Counts,
    Example,
    Input,
    JsonPointer,
    Offsets,
    Prediction,
    Schema,
    Scores,
    TokenIds,
)

__all__ = [
    "JSON",
    "Activations",
    "Adapter",
    "Alive",
    "Answer",
    "Backbone",
    "BackbonePool",
    "Check",
    "CheckpointStore",
    "Column",
    "Conversational",
    "Counts",
    "DecodingPlan",
    "Decomposable",
    "EncodeRequest",
    "Example",
    "FitContext",
    "GenerateRequest",
    "Generation",
    "GenerativePredictor",
    "InferencePlan",
    "InferenceRequest",
    "Input",
    "JsonPointer",
    "Labelled",
    "Message",
    "Network",
    "Offsets",
    "OodScorer",
    "Optioned",
    "OutputAdapter",
    "ParameterCount",
    "Perturbation",
    "Plannable",
    "Prediction",
    "Predictor",
    "PreflightChecks",
    "PromptTemplate",
    "PromptText",
    "Regime",
    "RequestRunner",
    "Row",
    "Sampling",
    "Schema",
    "ScoreRequest",
    "ScoredPredictions",
    "Scorer",
    "Scores",
    "Spanned",
    "Start",
    "StockNames",
    "Task",
    "TokenDecoder",
    "TokenIds",
    "Tokenizer",
    "TrainSet",
    "TrainingState",
    "is_always_alive",
    "predict_and_score",
    "sum_counts",
]
