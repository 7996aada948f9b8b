"""A task: what a right answer is. A frozen pydantic model whose fields are the task's part of the YAML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Protocol, Self, TypeVar, runtime_checkable

from loratory.errors import UnsupportedTask
from loratory.measures.offset_formats import OffsetFormat
from loratory.measures.ratios import Ratio
from loratory.protocols.values import JSON, Answer, Column, Counts, Example, Input, Prediction, Schema, Scores


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


TaskT = TypeVar("TaskT", bound=Task, contravariant=True)  # the capability that an extension needs of a task


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


def require_labelled(task: Task) -> Labelled:
    """The task as one of labels; raises UnsupportedTask where it is none."""
    if not isinstance(task, Labelled):
        raise UnsupportedTask(f"a {task.kind} task has no labels", allowed="a task of labels, such as classify")
    return task


@runtime_checkable
class Optioned(Task, Protocol):
    """A capability: one of some options that come with the input; `contract(input)` narrows to them."""

    def options(self, input: Input) -> tuple[str, ...]:
        """The options of an input, distinct, in their order."""

    def text(self, input: Input) -> str:
        """What is asked, without the options; by it inputs are compared."""

    def option_of(self, answer: Answer) -> str:
        """The option that an answer is."""

    def from_probabilities(self, input: Input, probabilities: Mapping[str, float]) -> Prediction:
        """The task's own answer from a probability for every option of the input; picks the first maximum."""


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


def require_spanned(task: Task) -> Spanned:
    """The task as one of spans; raises UnsupportedTask where it is none."""
    if not isinstance(task, Spanned):
        raise UnsupportedTask(f"a {task.kind} task has no spans", allowed="a task of spans, such as tag")
    return task


def list_labels(task: Task) -> tuple[str, ...]:
    """The labels of texts or of spans; none where the answer is written."""
    if isinstance(task, Labelled):
        return tuple(task.labels or ())
    return tuple(task.span_labels) if isinstance(task, Spanned) else ()


@runtime_checkable
class ContractDescriber(Protocol):
    """A capability: the answer in words, for model cards; of another task the card shows the JSON Schema."""

    def describe_contract(self) -> str:
        """What an answer is, in Markdown: a sentence or two."""


@runtime_checkable
class OffsetSpanned(Spanned, Protocol):
    """A capability: spans that files give by offsets, which may count something else than characters."""

    @property
    def offset_format(self) -> OffsetFormat:
        """How the offsets in the files are read."""


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
