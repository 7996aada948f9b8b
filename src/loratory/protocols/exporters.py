"""An exporter: how a fit is written in another form, and how that form is opened again.

Shapes: T tokens, D width, L outputs, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, runtime_checkable

from loratory.artifacts.manifests import Artifact
from loratory.errors import LoratoryError
from loratory.protocols.values import JSON, OptionsT, TokenIds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    Numbers = NDArray[np.float64]


ToleranceClass = Literal["exact", "reduced", "quantised"]  # how near to the fit a form has to be


WRITER = "writer"  # the head of a model that writes


@dataclass(frozen=True, eq=False)
class StageOutputs:
    """What an exported model makes of one text, stage by stage; None where the form does not show that stage.

    A text of more rows than one shows the stages of its first row; the answer is that of the whole text.
    """

    tokens: TokenIds | None = None
    states: Numbers | None = None  # [T, D], of the last layer
    logits: Numbers | None = None  # [L] of a text, [T, L] of tokens, [V] of the token that comes next
    probabilities: Numbers | None = None  # of the shape of the logits, over the last axis
    layers: tuple[Numbers, ...] | None = None  # [T, D] each: what the embedding gives, then each layer
    pooled: Numbers | None = None  # [D], where one vector is made of a text
    answer: JSON = None  # at the form's operating point: a label, or another task's answer; None: it abstains
    has_answer: bool = False  # whether this form answers by itself, and does not leave that to its reader


class ExportedModel(Protocol):
    """A model in an exported form, opened with what opens that form and not with Loratory."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the L outputs in their order; empty where they are the vocabulary."""

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """The stages of each text, in order, of one batch of them all where the form takes batches.

        A text of a model that writes is its whole prompt.
        """


@runtime_checkable
class DescribedModel(ExportedModel, Protocol):
    """A capability of exported models: they say what opened them, and what their own files say of reading them."""

    @property
    def runtime(self) -> tuple[str, str]:
        """Name and version of the library that opened the form."""

    @property
    def facts(self) -> Mapping[str, JSON]:
        """Those keys of a certificate's `model` that the form's own files hold: labels, temperature, files."""


def get_form_facts(model: ExportedModel) -> Mapping[str, JSON]:
    """What the form's own files say of reading it; nothing where it does not tell."""
    return model.facts if isinstance(model, DescribedModel) else {}


class ExportTarget(Protocol):
    """Where an export goes."""

    @property
    def exact_member(self) -> Path | None:
        """The certified folder of the exporter's `exact_form`, of the same fit; None where the exporter names none."""

    def check_replaceable(self, *names: str) -> None:
        """Raise ArtifactError where one of these folders holds what this command did not write."""

    def stage(self, name: str = "", facts: Mapping[str, JSON] | None = None) -> AbstractContextManager[Path]:
        """An empty folder that becomes the output whole, or leaves no trace; with a `name`, a folder in the output.

        `facts` go into its manifest; they are read when the folder is complete. Raises ArtifactError, StorageError.
        """


class Exporter(Protocol[OptionsT]):
    """A form that fits are exported to. One instance, made without arguments, serves every fit."""

    summary: ClassVar[str]  # one line for lists: what is written
    tolerance_class: ClassVar[ToleranceClass | None]  # what its certificate asks for; None: no model, so no certificate
    applies_temperature: ClassVar[bool]  # whether its probabilities are those of the operating point; else at 1
    exact_form: ClassVar[str | None]  # the exporter whose form this one rounds; None where it starts from the fit
    Options: ClassVar[type[BaseModel]]  # a frozen model that forbids other keys: the command's --option KEY=VALUE

    def check_support(self, artifact: Artifact) -> LoratoryError | None:
        """The error that says why this fit cannot be exported so, and what would mend it; None where it can.

        It reads small files of the artifact and loads no weights.
        """

    def export(self, artifact: Artifact, target: ExportTarget, options: OptionsT) -> list[str]:
        """Write a fit that is supported; returns what a person should know about it, a line each.

        Raises LoratoryError before anything is written where an option does not suit.
        """

    def open(self, folder: Path) -> ExportedModel:
        """A folder that `export` wrote; raises ArtifactError where it does not answer by itself."""


@runtime_checkable
class ClassifyingExporter(Protocol):
    """A capability of exporters: the class depends on what kind of fit they write."""

    def select_tolerance_class(self, head: str) -> ToleranceClass:
        """The class for fits of this head: pooled, stock, token, or WRITER."""


def get_tolerance_class(exporter: Exporter[OptionsT], head: str, quantised_base: bool = False) -> ToleranceClass | None:
    """The class that a form of an exporter belongs to; None where it is no model.

    A fit that was measured over a base in four bits is exported over the full one, which is another model: what that
    changes is weighed as rounding is.
    """
    own = (
        exporter.select_tolerance_class(head) if isinstance(exporter, ClassifyingExporter) else exporter.tolerance_class
    )
    return "quantised" if own is not None and quantised_base else own
