"""What a fit would refuse, asked before it: of a trunk without weights, and of the examples.

Everything here raises the error that the fit would raise; nothing is learnt and no weight is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loratory.errors import Unfit, missing_extra
from loratory.protocols import Context, Example, Labelled, Lessons, Spanned

if TYPE_CHECKING:
    from loratory.predictors.decoder import Decoder


def inspect_head(kind: str, task: Any, trunk: Any) -> None:
    """Raise Unfit where a stock head does not work on the states of this architecture; tried on two layers of it."""
    if kind != "stock":
        return
    from loratory.models.skeletons import shallow
    from loratory.predictors.heads import StockHead

    if (small := shallow(trunk)) is not None:
        StockHead(small.config, ("a", "b", "c"), trunk.tokenizer.pad, tokens=isinstance(task, Spanned))


def inspect_ways(trunk: Any, context: Context, learns: bool) -> None:
    """Raise SpecError for a precision that the device lacks, Unfit where layers that learn cannot be computed twice."""
    from loratory.models.skeletons import shallow
    from loratory.training.encoders import ways

    wanted = ways(context)
    if wanted.recompute and learns and (small := shallow(trunk)) is not None:
        small.open(every_weight=True, ways=wanted)


def inspect_writing(task: Any, trunk: Any) -> None:
    """Raise where the base has no output layer, its template hands no answer through, or a schema cannot be held."""
    from loratory.models.chat import Chat
    from loratory.models.skeletons import speaks

    trunk.speaker()
    if not speaks(trunk):
        raise Unfit(
            f"{trunk.name} has no output layer that it could write with",
            allowed="a causal language model",
            remedy="choose another base:, or set head: pooled",
        )
    Chat.of(trunk.tokenizer.tokenizer, trunk.name)
    if isinstance(task, Labelled) or task.contract().get("type") == "string":
        return
    try:
        import llguidance.hf  # noqa: F401
    except ImportError:
        raise missing_extra("llguidance", "structured") from None


def inspect_packing(options: Any, trunk: Any, context: Context) -> None:
    """Raise Unfit where packed rows would see each other."""
    if context.training.packing != "on":
        return
    from loratory.models.skeletons import shallow
    from loratory.training.writers import Page, check_packing

    if (small := shallow(trunk)) is not None:
        ids = trunk.tokenizer.ids("a b c a b")[0]
        check_packing(small, [Page(ids, 1), Page((*ids, *ids), 2)])


def rehearse_weights(options: Any, task: Any, lessons: Lessons) -> None:
    """Raise SpecError for class weights that cannot be used."""
    if options.loss.class_weights is None:
        return
    import torch

    from loratory.predictors.forms import form_of
    from loratory.training.objectives import OBJECTIVES

    if isinstance(task, Labelled):
        targets = torch.tensor([(task.labels or ()).index(task.label_of(e.answer)) for e in lessons.train])
        OBJECTIVES["labels"].weights(task, targets, options.loss)
    else:
        OBJECTIVES[form_of(task)].weights(task, torch.zeros(1, 1), options.loss)


def rehearse_writing(
    options: Any, task: Any, lessons: Lessons, trunk: Any, context: Context, shots: tuple[Example, ...] = ()
) -> Decoder:
    """A decoder that has room for a text; raises SpecError where the prompt leaves none."""
    from loratory.regimes.asking import asked

    made = asked(options, task, lessons, trunk, context, shots)
    assert made.room
    return made


def rehearse_pages(made: Decoder, lessons: Lessons, context: Context) -> None:
    """Raise DataError where a prompt with its answer is longer than what is learnt, or does not come back as written.

    Validation counts where the fit looks at it whole: an answer that is no choice of a list.
    """
    from loratory.training.writers import check_target, pages

    trunk: Any = made.network.trunk
    longest = min(context.training.max_tokens, trunk.tokenizer.limit)
    learnt = lessons.train if made.choices else [*lessons.train, *lessons.validation]
    if not made.words.cuts:
        pages(made, learnt, longest)
    check_target(made, pages(made, lessons.train[:1], longest)[0], lessons.train[0])
