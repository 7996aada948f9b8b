"""How a regime puts a task to a base that writes: the wording, the prompt and the budget of an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loratory.protocols import Context, Example, Lessons, Network

if TYPE_CHECKING:
    from loratory.predictors.decoder import Decoder

SPARE = 1.25  # of the longest answer in train
LEAST = 8  # tokens of a budget that is left to us


def asked(
    options: Any, task: Any, lessons: Lessons, trunk: Any, context: Context, shots: tuple[Example, ...] = ()
) -> Decoder:
    """A decoder that nothing has been taught; raises SpecError for a prompt file that is none.

    `options` are a regime's: `prompt`, a file or None, and `writing`.
    """
    from loratory.predictors.decoder import Decoder
    from loratory.predictors.prompts import Prompt
    from loratory.predictors.wordings import wording_of

    wording, writing = wording_of(task), options.writing
    text = Prompt.load(options.prompt, wording)
    made = Decoder(task, wording, Network(trunk), text, context.training.max_tokens, shots, writing=writing)
    if made.choices or writing.max_new_tokens:
        return made
    longest = max(len(made.written(example)) for example in lessons.train)
    most = min(max(int(SPARE * longest) + 1, LEAST), trunk.tokenizer.limit // 2)
    return replace(made, writing=writing.model_copy(update={"max_new_tokens": most}))
