"""An exporter: how a fit is written in another form, and how that form is opened again.

Shapes: T tokens, D width, L outputs, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from loratory.artifacts.manifests import Artifact
from loratory.errors import LoratoryError
from loratory.protocols.values import JSON, OptionsT, TokenIds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StageOutputs:
    """What an exported model makes of one text, stage by stage; None where the form does not show that stage."""

    tokens: TokenIds | None = None
    states: Numbers | None = None  # [T, D], of the last layer
    logits: Numbers | None = None  # [L] of a text, [T, L] of tokens, [V] of the token that comes next
    probabilities: Numbers | None = None  # of the shape of the logits, over the last axis


class ExportedModel(Protocol):
    """A model in an exported form, opened with what opens that form and not with Loratory."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the L outputs in their order; empty where they are the vocabulary."""

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """The stages of each text, in order. A text of a model that writes is its whole prompt."""


class ExportTarget(Protocol):
    """Where an export goes."""

    def check_replaceable(self, *names: str) -> None:
        """Raise ArtifactError where one of these folders holds what this command did not write."""

    def stage(self, name: str = "", facts: Mapping[str, JSON] | None = None) -> AbstractContextManager[Path]:
        """An empty folder that becomes the output whole, or leaves no trace; with a `name`, a folder in the output.

        `facts` go into its manifest; they are read when the folder is complete. Raises ArtifactError, StorageError.
        """


class Exporter(Protocol[OptionsT]):
    """A form that fits are exported to. One instance, made without arguments, serves every fit."""

    summary: ClassVar[str]  # one line for lists: what is written
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
