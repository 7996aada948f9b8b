"""What `lora` and `full` share: the head that they train, and how."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from loratory.errors import SpecError, nearest
from loratory.protocols import JSON, Context, Lessons, Predictor, Spanned, Task
from loratory.regimes.asking import asked
from loratory.regimes.marking import RecogniserName, believed
from loratory.regimes.objections import ENCODED, refuse, refuse_writing
from loratory.specs.training import ConsistencySpec, ContrastiveSpec, LossSpec
from loratory.specs.writing import WritingSpec

SURE = 0.9  # share of a recogniser's finds in train that are right, before it is believed over what is learnt


class Headed(BaseModel):
    """Options of a regime that trains a head together with its trunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    starts: ClassVar[tuple[str, ...]] = ("encoder", "causal")

    head: Literal["auto", "pooled", "stock", "none"] = Field(
        "auto",
        description="pooled: cosine to learned prototypes; stock: opens wholly in AutoModelForSequenceClassification; "
        "none: a causal base writes its answer; auto: pooled on an encoder, none on a causal base",
    )
    prompt: str | None = Field(
        None, description="of a base that writes: a prompt file (version, system, user); without it the project's own"
    )
    writing: WritingSpec = Field(default_factory=WritingSpec, description="of open answers: budget, drawing, stops")
    head_learning_rate: float = Field(5e-3, gt=0, lt=1, description="of the head")
    learn_scale: bool = Field(
        False,
        description="learn the pooled head's scale too; kept where it starts it holds back over-confidence, which was "
        "the better choice on banking77",
    )
    label_names: float = Field(
        0.0, ge=0, le=100, description="how many examples the label's own words count as where a prototype starts"
    )
    contrastive: ContrastiveSpec | None = Field(
        None, description="a supervised contrastive warm-up with mined hard negatives (pooled head)"
    )
    recognisers: Literal["auto", "off"] | dict[RecogniserName, str] = Field(
        "auto",
        description="of spans: what finds cards, accounts and the like by form and check digits -> the label it speaks "
        "for; what they find stands. auto: those that were right on train",
    )
    consistency: ConsistencySpec | None = Field(
        None, description="perturbed twins of the examples, whose answers are to be the same (tasks of labels)"
    )
    loss: LossSpec = Field(default_factory=LossSpec)
    learning_rate: float

    @model_validator(mode="after")
    def _warms_up_what_it_can(self) -> Self:
        if self.contrastive and self.head not in ("auto", "pooled"):
            raise ValueError("contrastive warms up for prototypes: set head: pooled with it")
        return self

    def writes(self, start: str) -> bool:
        """Whether an answer is written, from this kind of start."""
        return self.head == "none" or (self.head == "auto" and start == "causal")

    def refused(self, name: str, task: Task, start: str) -> str | None:
        """Why this task cannot be fulfilled from this kind of start, or None; loads no weights."""
        if self.head == "none" and start == "encoder":
            return f"{name} with head: none lets the base write its answer, and an encoder cannot write"
        if self.writes(start) and (self.contrastive or self.label_names):
            return f"{name} on a causal base writes its answer: contrastive and label_names need head: pooled"
        if self.consistency and (self.writes(start) or isinstance(task, Spanned)):
            return f"{name} with consistency compares the odds of labels: it needs a task of labels and a head"
        if self.writes(start):
            return refuse_writing(name, task, start, self.starts)
        if isinstance(task, Spanned) and (self.contrastive or self.label_names):
            return f"{name} on spans has a head on every token: contrastive and label_names are for labels of texts"
        return refuse(name, task, start, self.starts, ENCODED)

    def inspect(self, task: Any, trunk: Any, context: Context) -> None:
        from loratory.regimes.rehearsal import inspect_head, inspect_packing, inspect_ways, inspect_writing

        inspect_ways(trunk, context, learns=True)
        if self.writes(trunk.kind):
            inspect_writing(task, trunk)
            inspect_packing(self, trunk, context)
        else:
            inspect_head(self.head, task, trunk)

    def rehearse(self, task: Any, lessons: Lessons, trunk: Any, context: Context) -> None:
        from loratory.regimes.rehearsal import rehearse_pages, rehearse_weights, rehearse_writing

        rehearse_weights(self, task, lessons)
        if self.writes(trunk.kind):
            rehearse_pages(rehearse_writing(self, task, lessons, trunk, context), lessons, context)
            return
        if self.consistency and context.training.long == "windows":
            from loratory.training.consistency import windowed

            raise windowed()
        if isinstance(task, Spanned):
            self.check_recognisers(task)

    def check_recognisers(self, task: Any) -> None:
        """Raise SpecError where a recogniser speaks for an unknown label."""
        for label in () if isinstance(self.recognisers, str) else self.recognisers.values():
            if label not in task.span_labels:
                said = f"{label!r} is no label{nearest(label, task.span_labels)}"
                raise SpecError(said, where="recognisers", allowed=", ".join(task.span_labels))

    def assisted(self, task: Any, lessons: Lessons, made: Any) -> Any:
        """A predictor of spans with its recognisers; any other as it is. Raises SpecError for an unknown label."""
        if not isinstance(task, Spanned) or self.recognisers == "off":
            return made
        self.check_recognisers(task)
        marked = [(task.text(e.input), task.spans_of(e.answer)) for e in lessons.train]
        return replace(made, finders=tuple(believed(self.recognisers, marked, SURE)))

    def written(self, task: Any, lessons: Lessons, live: Any, context: Context) -> tuple[Predictor, dict[str, JSON]]:
        """Teach a causal base to write the answer."""
        from loratory.training.writers import through_writing

        start = asked(self, task, lessons, live, context)
        return through_writing(lessons, start, live, self.learning_rate, self.loss, context)
