"""`prompted`: a causal base is told what to do, and shown some examples; nothing learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from pydantic import Field

from loratory.data.dataset import Dataset
from loratory.protocols import Backbone, Example, FitContext, RegimeOptions, Start, StartKind, Task, TrainSet
from loratory.protocols.events import PredictorFitted
from loratory.regimes.causal_options import build_decoder
from loratory.regimes.compatibility import check_causal_support
from loratory.specs.generation import GenerationSpec

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone
    from loratory.predictors.decoder import Decoder


class Prompted(RegimeOptions):
    """Zero-shot or few-shot prompting of an instruction model. The model's own probabilities choose the answer."""

    starts: ClassVar[tuple[str, ...]] = ("causal",)
    file_options: ClassVar[tuple[str, ...]] = ("prompt",)

    shots: int = Field(
        0, ge=0, le=256, description="Number of examples in the prompt, balanced over the labels. 0 is zero-shot."
    )
    prompt: str | None = Field(None, description="Prompt file (version, system, user). Default: the built-in prompt.")

    writing: GenerationSpec = Field(
        default_factory=GenerationSpec, description="Length, sampling and stop texts of generated answers."
    )

    def check_support(self, task: Task, start: StartKind) -> str | None:
        return check_causal_support("prompted", task, start, self.starts)

    def predictor_kind(self, task: Task, start: StartKind) -> str:
        return "decoder"

    def check_backbone(self, task: Task, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.regimes.preflight_checks import check_causal_backbone

        check_causal_backbone(task, backbone)

    def check_examples(self, task: Task, train_set: TrainSet, backbone: EncoderBackbone, context: FitContext) -> None:
        from loratory.regimes.preflight_checks import build_checked_decoder

        build_checked_decoder(self, task, train_set, backbone, context, self._select_shots(task, train_set))

    def fit(self, task: Task, train_set: TrainSet, start: Start, context: FitContext) -> Decoder:
        made = build_decoder(
            self, task, train_set, cast("Backbone", start), context, self._select_shots(task, train_set)
        )
        context.report(PredictorFitted({"prompt": made.prompt.digest, "room": made.max_text_tokens}))
        return made

    def _select_shots(self, task: Task, train_set: TrainSet) -> tuple[Example, ...]:
        """Examples of train at random (always the same ones), the labels in turn."""
        import torch

        from loratory.training.seeds import make_generator

        chance = make_generator("shots")
        waiting: dict[str, list[Example]] = {}
        labels = Dataset.of(task, train_set.train).labels
        for i in torch.randperm(len(train_set.train), generator=chance).tolist():
            waiting.setdefault(labels[i], []).append(train_set.train[i])
        chosen: list[Example] = []
        while len(chosen) < self.shots and any(waiting.values()):
            for left in waiting.values():
                if left and len(chosen) < self.shots:
                    chosen.append(left.pop())
        return tuple(chosen)
