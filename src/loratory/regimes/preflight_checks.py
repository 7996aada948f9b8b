"""What a fit would refuse, asked before it: of a backbone without weights, and of the examples.

Everything here raises the error that the fit would raise; nothing is learnt and no weight is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from loratory.errors import UnsupportedTask, make_missing_extra
from loratory.protocols import Example, FitContext, Labelled, Spanned, Task, TrainSet, require_causal
from loratory.regimes.causal_options import CausalOptions, build_decoder
from loratory.specs.training import LossSpec

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone
    from loratory.predictors.decoder import Decoder


def check_head(kind: str, task: Task, backbone: EncoderBackbone) -> None:
    """Raise UnsupportedTask where a stock head does not work on the states of this architecture; tried on two
    layers of it.
    """
    if kind != "stock":
        return
    from loratory.backbones.meta_backbones import create_shallow_backbone
    from loratory.predictors.heads import StockHead

    if (small := create_shallow_backbone(backbone)) is not None:
        StockHead(small.config, ("a", "b", "c"), backbone.tokenizer.pad_token_id, per_token=isinstance(task, Spanned))


def check_compute_config(backbone: EncoderBackbone, context: FitContext, trains_layers: bool) -> None:
    """Raise SpecError for a precision that the device lacks, UnsupportedTask where layers that learn cannot be
    computed twice.
    """
    from loratory.backbones.meta_backbones import create_shallow_backbone
    from loratory.training.encoders import make_compute_config
    from loratory.training.trainable_backbones import TrainableBackbone

    wanted = make_compute_config(context)
    if wanted.gradient_checkpointing and trains_layers and (small := create_shallow_backbone(backbone)) is not None:
        TrainableBackbone(small, full_finetuning=True, compute_config=wanted)


def check_causal_backbone(task: Task, backbone: EncoderBackbone) -> None:
    """Raise where the base has no output layer, its template hands no answer through, or a schema cannot be held."""
    from loratory.backbones.generation.chat_template import ChatTemplate
    from loratory.backbones.meta_backbones import has_known_lm_head
    from loratory.predictors.prompt_templates import find_template_name, load_prompt_template

    require_causal(backbone)
    if not has_known_lm_head(backbone):
        raise UnsupportedTask(
            f"{backbone.name} has no output layer that it could write with",
            allowed="a causal language model",
            remedy="choose another base:, or set head: pooled",
        )
    ChatTemplate.from_tokenizer(backbone.tokenizer.tokenizer, backbone.name)
    if load_prompt_template(find_template_name(task)).build_schema(task) is None:
        return
    try:
        import llguidance.hf  # noqa: F401
    except ImportError:
        raise make_missing_extra("llguidance", "structured") from None


def check_packing_support(backbone: EncoderBackbone, context: FitContext) -> None:
    """Raise UnsupportedTask where packed rows would see each other."""
    if context.training.packing != "on":
        return
    from loratory.backbones.meta_backbones import create_shallow_backbone
    from loratory.training.causal import SftExample, check_packing

    if (small := create_shallow_backbone(backbone)) is not None:
        ids = backbone.tokenizer.encode("a b c a b")[0]
        check_packing(small, [SftExample(ids, 1), SftExample((*ids, *ids), 2)])


def check_class_weights(loss: LossSpec, task: Task, train_set: TrainSet) -> None:
    """Raise SpecError for class weights that cannot be used."""
    if loss.class_weights is None:
        return
    import torch

    from loratory.training.targets import find_target_encoder

    encoder = find_target_encoder(task)
    targets = encoder.build_targets(task, train_set.train, ()) if isinstance(task, Labelled) else torch.zeros(1, 1)
    encoder.compute_weights(task, targets, loss.class_weights)


def build_checked_decoder(
    options: CausalOptions,
    task: Task,
    train_set: TrainSet,
    backbone: EncoderBackbone,
    context: FitContext,
    shots: tuple[Example, ...] = (),
) -> Decoder:
    """A decoder that has room for a text; raises SpecError where the prompt leaves none."""
    made = build_decoder(options, task, train_set, backbone, context, shots)
    assert made.max_text_tokens
    return made


def check_sft_examples(decoder: Decoder, train_set: TrainSet, context: FitContext) -> None:
    """Raise DataError where a prompt with its answer is longer than what is learnt, or does not come back as written.

    Validation counts where the fit looks at it whole: an answer that is no choice of a list.
    """
    from loratory.training.causal import build_sft_examples, check_target

    backbone = decoder.network.backbone
    longest = min(context.training.max_tokens, backbone.tokenizer.max_length)
    learnt = train_set.train if decoder.template.scores_choices else [*train_set.train, *train_set.validation]
    if not decoder.template.truncates:
        build_sft_examples(decoder, learnt, longest)
    check_target(decoder, build_sft_examples(decoder, train_set.train[:1], longest)[0], train_set.train[0])
