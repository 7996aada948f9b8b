"""The words and the protocols (see design/001-protocols.md). Imports neither torch nor transformers.

Shapes in docstrings: B batch, T tokens, D width, L labels, N examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from loratory.artifacts.verified_files import VerifiedFiles
from loratory.measures.ratios import Ratio

if TYPE_CHECKING:
    from torch import Tensor, nn

JSON = Any
Input = Mapping[str, JSON]  # validates against task.input_schema()
Answer = JSON  # validates against task.contract(input)
Schema = Mapping[str, JSON]
JsonPointer = str  # RFC 6901, into the answer: "/label", "/2", ""
Counts = Mapping[str, float]  # one example's marks, additive over examples; "n" and "reward" in [0, 1] always there
Scores = Mapping[str, float]  # flat: "accuracy", "recall/FRAUD"; higher is better unless listed in Task.lower_is_better
TokenIds = tuple[int, ...]
Offsets = tuple[tuple[int, int], ...]  # character offsets of each token


@dataclass(frozen=True)
class Example:
    """An input with its expected answer."""

    input: Input
    answer: Answer | None = None  # None: unlabelled
    group: str = ""  # never crosses a split
    weight: float = 1.0
    origin: str = ""  # "file:line", so that every figure can be traced to its row


@dataclass(frozen=True)
class Prediction:
    """What a predictor says about one input."""

    answer: Answer | None  # None: no answer, and `why` says why
    probabilities: Mapping[JsonPointer, Mapping[str, float]] = field(default_factory=dict)
    reason: str | None = None  # "abstained" | "invalid" | "late" | "long" (the input does not fit) | "failed"
    raw: str | None = None  # what a causal model wrote
    answered_by: str | None = None  # who answered; set by whoever knows names, never by the predictor

    @property
    def confidence(self) -> float:
        """The least probable field's best probability: an answer is as sure as its weakest part."""
        if self.answer is None:
            return 0.0
        return min((max(odds.values()) for odds in self.probabilities.values()), default=1.0)


@dataclass(frozen=True)
class Column:
    """One field of the user's rows that a task reads."""

    help: str
    required: bool = True
    aliases: tuple[str, ...] = ()  # column names that mean this, in order of preference


# ---- 1. Task: what a right answer is. A frozen pydantic model: its fields ARE the task's part of the YAML.
@runtime_checkable
class Task(Protocol):
    """A contract, and how an answer is scored."""

    columns: ClassVar[Mapping[str, Column]]
    lower_is_better: ClassVar[frozenset[str]]

    @property
    def kind(self) -> str: ...
    @property
    def headline(self) -> str:
        """The score that early stopping and the ladder go by; higher is better."""

    def input_schema(self) -> Schema:
        """JSON Schema of the input."""

    def contract(self, input: Input | None = None) -> Schema:
        """JSON Schema of the answer, narrowed to one input when given."""

    def check_answer(self, input: Input, answer: Answer) -> list[str]:
        """Problems that a schema cannot say."""

    def read(self, row: Mapping[str, JSON]) -> Example:
        """An example from a row keyed by this task's own columns; raises FieldError."""

    def resolve_options(self, examples: Iterable[Example], others: Iterable[Example] = ()) -> Self:
        """The task with open options frozen from training examples.

        Labels that stand only in `others`, given validation and test sets, are part of the task too: nobody learns
        them, and their examples count as mistakes.
        """

    def score_example(self, example: Example, prediction: Prediction) -> Counts:
        """One example's additive counts."""

    def summarise(self, totals: Counts) -> Scores:
        """Scores from summed counts.

        The values of totals may also be numpy arrays of one shape (a total for each resample). The scores are then
        arrays of that shape, or one number for all of it: in each place what the numbers there would have given, NaN
        where they would have given no such score.
        """


@runtime_checkable
class Decomposable(Task, Protocol):
    """A capability: scores that are means of ratios of counts, so that intervals know what a test set cannot tell."""

    def ratios(self, score: str) -> Sequence[Ratio]:
        """The ratios whose plain mean a score is; none where it is no such mean, as of log-loss."""


@runtime_checkable
class Labelled(Task, Protocol):
    """A capability: one label of a fixed list for a text."""

    @property
    def labels(self) -> tuple[str, ...] | None: ...
    def text(self, input: Input) -> str: ...
    def label_of(self, answer: Answer) -> str: ...
    def describe(self, label: str) -> str:
        """The label in words, for zero-shot."""

    def from_probabilities(self, input: Input, probabilities: Mapping[str, float]) -> Prediction:
        """The task's own answer from a probability for every label; picks the first maximum."""


@runtime_checkable
class Spanned(Task, Protocol):
    """A capability: labelled spans of a text, (start, end, label) in characters, end left out."""

    @property
    def span_labels(self) -> tuple[str, ...]: ...
    @property
    def word_aligned(self) -> bool:
        """Whether spans begin and end where words do, so that none is found inside of one."""

    def text(self, input: Input) -> str: ...
    def spans_of(self, answer: Answer) -> Sequence[tuple[int, int, str]]: ...
    def from_spans(self, text: str, spans: Iterable[tuple[int, int, str]]) -> Answer:
        """The task's own answer, spans in order."""


@runtime_checkable
class Conversational(Task, Protocol):
    """A capability: a conversation that is answered in writing."""

    def messages(self, input: Input) -> Sequence[Mapping[str, str]]:
        """{role, content}: system first if at all, then user and assistant in turn, the user last."""

    def text(self, input: Input) -> str:
        """What the user says, by which inputs are compared."""

    def render(self, answer: Answer) -> str:
        """The answer as it is written."""

    def parse(self, text: str) -> Answer:
        """The answer that a text is; raises ValueError where it is none."""


# ---- 2. Predictor: what answers. A frozen value that asks for tensor work through `run`.
class Predictor(Protocol):
    """Answers inputs; holds no training code."""

    @property
    def task(self) -> Task: ...
    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        """One prediction per input, in order; never raises for a bad answer."""

    def save(self, folder: Path) -> None:
        """Write safetensors and JSON into a fresh staging folder; `artifacts` makes it durable."""

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Any, backbones: BackbonePool) -> Self:
        """Read back what `save` wrote, through `artifacts.contents.files_of(source)` alone: bytes that were hashed."""

    def count_parameters(self) -> ParameterCount: ...


@runtime_checkable
class GenerativePredictor(Protocol):
    """A capability of predictors: an answer is written, so it can also be written with nothing to hold it."""

    def generate_unconstrained(self, inputs: Sequence[Input], run: RequestRunner) -> list[str]:
        """What is written for each input when nothing holds it to the contract."""

    def stream(self, input: Input, run: RequestRunner, on_token: Callable[[str], None]) -> Prediction:
        """As `predict`; `hear` is told the text piece by piece while it is written."""


@dataclass(frozen=True)
class InferencePlan:
    """All that a predictor needs for some inputs, known at once."""

    requests: Sequence[InferenceRequest]
    read_outputs: Callable[[Sequence[Any]], list[Prediction]]  # what came back, in order, to one prediction per input
    score_ood: Callable[[Sequence[Any]], list[Scores]] | None = None  # to what is known of each input beside its answer


@runtime_checkable
class Plannable(Protocol):
    """A capability of predictors: they ask once, so a server can put the requests of many of them together.

    `predict(inputs, run)` is then `asked.read(run(asked.requests))`.
    """

    def plan(self, inputs: Sequence[Input]) -> InferencePlan | None:
        """The requests for these inputs; None where what is asked depends on what came back."""


@runtime_checkable
class OodScorer(Protocol):
    """A capability of predictors: what they know of an input beside the answer, such as the energy of its logits."""

    def predict_with_ood_scores(self, inputs: Sequence[Input], run: RequestRunner) -> list[tuple[Prediction, Scores]]:
        """As `predict`, with scores that are higher where an input is more like those that were learnt."""


@dataclass(frozen=True)
class ParameterCount:
    """Parameters of a predictor: learnt from the examples, and needed in all to answer."""

    trained: int
    total: int


class Tokenizer(Protocol):
    """Text to ids; belongs to the base, and predictors call it, so that requests carry ids only."""

    def encode(self, text: str, pair: str | None = None) -> tuple[TokenIds, Offsets]: ...
    def encode_batch(self, texts: Sequence[str], max_length: int | None = None) -> list[tuple[TokenIds, Offsets]]: ...
    def encode_head_and_tail(self, texts: Sequence[str], max_length: int) -> list[tuple[TokenIds, Offsets]]:
        """Every text, of those that are longer than `limit` tokens the beginning and the end."""

    def encode_windows(
        self, texts: Sequence[str], max_length: int, stride: int
    ) -> list[list[tuple[TokenIds, Offsets]]]:
        """Every text whole, in windows of at most `limit` tokens that share `stride` of them with the next."""

    @property
    def max_length(self) -> int:
        """The most tokens, special ones included, that the base can read; `ids` cuts there."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text before cutting."""


Alive = Callable[[int], bool]  # is request i still wanted? Asked between batches, so that abandoned work stops


def is_always_alive(index: int) -> bool:
    """Every request is still wanted."""
    return True


class Backbone(Protocol):
    """Weights that many predictors share; does the work of one mixed batch."""

    @property
    def digest(self) -> str: ...
    @property
    def kind(self) -> str:
        """Encoder | causal | nli."""

    @property
    def name(self) -> str:
        """What the spec called the base."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def depth(self) -> int: ...
    @property
    def width(self) -> int: ...
    def encode(self, requests: Sequence[EncodeRequest], alive: Alive = ...) -> list[Tensor]: ...


class BackbonePool(Protocol):
    """Where predictors find their backbones again: one instance per digest and process."""

    def get(self, name: str, digest: str, files: VerifiedFiles) -> Backbone:
        """The base called `name` with that digest; `files` are the artifact's, which may carry its own copy."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA adapter as a value, named by digest, never by a mutable name."""

    config: Mapping[str, JSON]  # stock PEFT fields, allowlisted
    tensors: Mapping[str, Tensor]  # PEFT's own keys, without the adapter's name
    first_layer: int  # below it the backbone is untouched: cacheable, shareable
    digest: str


@dataclass(frozen=True, eq=False)
class Network:
    """All that export, merging, quantising and the engine need to know."""

    backbone: Backbone
    adapter: Adapter | None = None
    head: nn.Module | None = None  # (states float[B, T, D], mask bool[B, T]) -> outputs; None: the backbone's own


@dataclass(frozen=True)
class EncodeRequest:
    """A request for the outputs of a network's head on one row of token ids."""

    network: Network
    ids: TokenIds


@dataclass(frozen=True)
class ScoreRequest:
    """A request for the log-probability of each of some continuations of a prompt: float64[C], natural logarithms.

    The network's head is not asked: the backbone's own output layer speaks.
    """

    network: Network
    prompt: TokenIds
    continuations: tuple[TokenIds, ...]


@dataclass(frozen=True)
class Sampling:
    """How a token is drawn. Temperature 0 takes the likeliest; the penalty is that of Keskar et al. 2019, eq. 2."""

    temperature: float = 0.0
    top_p: float = 1.0  # the least set of tokens with so much probability (Holtzman et al. 2020)
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class GenerateRequest:
    """A request for text behind a prompt: at most `most` tokens, until one of `ends` or a stop string.

    With a `schema` the text is an answer of it, whole within `most` tokens. `hear` is told the text piece by piece
    while it is written, each as soon as it is certain, from the thread that writes: it should be quick. Where it raises
    an error its request is abandoned.
    """

    network: Network
    prompt: TokenIds
    max_new_tokens: int
    stop_token_ids: frozenset[int]
    schema: Schema | None = None
    sampling: Sampling = Sampling()
    stop_strings: tuple[str, ...] = ()
    on_token: Callable[[str], None] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Generation:
    """What was written, its end left out. `text` is all that was heard, and of an abandoned request no more than that.

    `odds` are the probabilities that the model gave each token, at temperature 1 and without a penalty: with a schema
    among the tokens that it allows at that place, else among all.
    """

    ids: TokenIds
    text: str
    finish_reason: str  # "end" | "stop" (a stop string) | "length" | "abandoned"
    token_probabilities: tuple[float, ...] = ()


InferenceRequest = EncodeRequest | ScoreRequest | GenerateRequest


class RequestRunner(Protocol):
    """Do this work, with whatever else is waiting for the same backbone; raises DeadlineExceeded after `by`
    (monotonic seconds).
    """

    def __call__(self, requests: Sequence[InferenceRequest], deadline: float | None = None) -> list[Any]: ...


# ---- 3. Regime: how a predictor is made. A frozen pydantic model: its fields ARE its options.
@dataclass(frozen=True)
class TrainSet:
    """What a regime may look at. There is no test set here: it cannot look at what it is not given."""

    train: Sequence[Example]
    validation: Sequence[Example]


@dataclass(frozen=True)
class TrainingState:
    """What crosses a crash: tensors and facts; no RNG: random choices are functions of (seed, purpose, step)."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, JSON]


class CheckpointStore(Protocol):
    """Bound to the identity of one fit; whole or not there."""

    def load_latest(self) -> TrainingState | None: ...
    def save(self, state: TrainingState) -> None: ...


class Activations(Protocol):
    """Outputs of frozen backbones, content-addressed by (backbone, what, ids), shared by contenders, seeds and
    trials.
    """

    def compute_pooled(self, backbone: Backbone, pooling: str, rows: Sequence[TokenIds]) -> Tensor:
        """Pooled final states, float32[N, D], in the order of `rows`."""

    def lookup_layer_inputs(
        self, backbone: Backbone, first_layer: int, rows: Sequence[TokenIds], precision: str
    ) -> Callable[[Sequence[TokenIds]], Sequence[Tensor]]:
        """A look-up of the states that enter layer `first`, [T, D] in `precision`, of these rows."""


@dataclass(frozen=True)
class FitContext:
    """What surrounds a fit."""

    seed: int
    run: RequestRunner
    checkpoints: CheckpointStore
    activations: Activations
    training: Any  # TrainingSpec: epochs, batch tokens, precision
    report: Callable[[str, Mapping[str, JSON]], None] = lambda event, values: None
    should_stop: Callable[[], bool] = lambda: False
    device: str = "cpu"


Start = Any  # a Backbone, another contender's Predictor, or None


class Regime(Protocol):
    """A way to make a predictor."""

    adapts: ClassVar[bool]  # whether it changes the backbone's weights: what "fine-tune" means in a verdict
    tunable: ClassVar[str | None]  # the option that validation trials vary, by factors
    seeded: ClassVar[bool]  # whether another seed gives another fit

    def check_support(self, task: Task, start: str) -> str | None:
        """Why this task cannot be fulfilled from this kind of start ("nothing", "encoder", ...), or None."""

    def fit(self, task: Any, train_set: TrainSet, start: Start, context: FitContext) -> Predictor: ...


@runtime_checkable
class PreflightChecks(Protocol):
    """A capability of regimes: what `fit` would refuse is told before anything is fitted. Both raise LoratoryError."""

    def check_backbone(self, task: Any, backbone: Any, context: FitContext) -> None:
        """Of the base's architecture and the options. `backbone` is a backbone without weights (models/skeletons.py).

        The task may be one whose labels are not known yet; nothing may be run.
        """

    def check_examples(self, task: Any, train_set: TrainSet, backbone: Any, context: FitContext) -> None:
        """Of the settled task and the examples, such as a prompt that is too long."""


# ---- 4. What follows from the protocols, for every task and predictor alike
@dataclass(frozen=True)
class ScoredPredictions:
    """A predictor's answers to a set of examples, row by row: every figure comes from here."""

    examples: Sequence[Example]
    predictions: Sequence[Prediction]
    counts: Sequence[Counts]

    def sum_counts(self) -> Counts:
        return sum_counts(self.counts)


def predict_and_score(predictor: Predictor, examples: Sequence[Example], run: RequestRunner) -> ScoredPredictions:
    """Predict every example and mark it."""
    predictions = predictor.predict([example.input for example in examples], run)
    marks = [predictor.task.score_example(e, p) for e, p in zip(examples, predictions, strict=True)]
    return ScoredPredictions(examples, predictions, marks)


def sum_counts(counts: Iterable[Counts]) -> Counts:
    """The sum of marks over examples."""
    sums: dict[str, float] = {}
    for one in counts:
        for key, value in one.items():
            sums[key] = sums.get(key, 0.0) + value
    return sums
