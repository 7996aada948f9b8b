"""How a regime puts a task to a base that writes: the wording, the prompt and the budget of an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from loratory.protocols import Backbone, Example, FitContext, Network, Task, TrainSet
from loratory.specs.generation import GenerationSpec

if TYPE_CHECKING:
    from loratory.predictors.decoder import Decoder

ANSWER_LENGTH_MARGIN = 1.25  # of the longest answer in train
MIN_NEW_TOKENS = 8  # tokens of a budget that is left to us


class CausalOptions(Protocol):
    """Options of a regime whose base writes."""

    @property
    def prompt(self) -> str | None: ...
    @property
    def writing(self) -> GenerationSpec: ...


def build_decoder(
    options: CausalOptions,
    task: Task,
    train_set: TrainSet,
    backbone: Backbone,
    context: FitContext,
    shots: tuple[Example, ...] = (),
) -> Decoder:
    """A decoder that nothing has been taught; raises SpecError for a prompt file that is none."""
    from loratory.predictors.decoder import Decoder
    from loratory.predictors.prompt_files import Prompt
    from loratory.predictors.prompt_templates import find_template_name

    template, writing = find_template_name(task), options.writing
    text = Prompt.load(options.prompt, template)
    made = Decoder(task, template, Network(backbone), text, context.training.max_tokens, shots, writing=writing)
    if made.template.scores_choices or writing.max_new_tokens:
        return made
    longest = max(len(made.encode_answer(example)) for example in train_set.train)
    most = min(max(int(ANSWER_LENGTH_MARGIN * longest) + 1, MIN_NEW_TOKENS), backbone.tokenizer.max_length // 2)
    return replace(made, writing=writing.model_copy(update={"max_new_tokens": most}))
