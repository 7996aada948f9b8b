"""A causal fit as exporters of other formats read it: its weights in one model, and the prompt around a text."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory.artifacts.manifests import PREDICTOR_FILE, Artifact
from loratory.backbones.generation.chat_template import PLAIN_TEMPLATE
from loratory.errors import LoratoryError, UnsupportedTask
from loratory.exporting.encoder_fits import OTHER_FORMATS
from loratory.protocols import ChatMessage

if TYPE_CHECKING:
    from loratory.predictors.decoder import Decoder

MARKER = "LORATORYTEXT"  # stands for the text while a prompt is rendered
PROMPT_FILE = "prompt.json"


@dataclass(frozen=True)
class PromptFrame:
    """What stands before and behind a text in the prompt of a fit, as the base's template writes it."""

    before: str
    after: str
    stop: str  # the token that ends an answer

    def write(self, folder: Path) -> None:
        """prompt.json, for programs that send whole prompts."""
        facts = {"before": self.before, "after": self.after, "stop": self.stop}
        (folder / PROMPT_FILE).write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_decoder_fit(artifact: Artifact, format_name: str) -> LoratoryError | None:
    """Why a fit does not write, which is what other formats are for; None where it does."""
    kind = artifact.read_json(PREDICTOR_FILE).get("predictor") if artifact.has(PREDICTOR_FILE) else None
    if kind == "decoder":
        return None
    return UnsupportedTask(
        f"{format_name} holds a causal language model, and this fit does not write its answers",
        where=str(artifact.folder),
        allowed="fits of lora, qlora, full and prompted on a causal base",
        remedy=OTHER_FORMATS,
    )


def load_decoder_fit(artifact: Artifact) -> Decoder:
    """The weights of a fit that `check_decoder_fit` passed; raises ArtifactError where a file was changed."""
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.predictors import predictor_files

    decoder: Any = predictor_files.load_uncalibrated(artifact, TorchBackbonePool(short_attention=False))
    return decoder  # type: ignore[no-any-return]


def merge_decoder(decoder: Decoder) -> Any:
    """The whole causal model in float32 with the adapter merged into a copy of its weights."""
    import torch

    from loratory.backbones import adapters

    backbone = decoder.network.backbone.unquantized
    whole = copy.deepcopy(backbone.full_model).to("cpu", torch.float32)
    if decoder.network.adapter is not None:
        merged = adapters.merge_adapter(backbone.model, decoder.network.adapter).to("cpu")
        whole.base_model.load_state_dict(merged.state_dict())
    return whole.eval()


def find_prompt_frame(decoder: Decoder) -> PromptFrame | None:
    """The prompt around a text, of a conversation around its only turn; None where options come with each input."""
    messages = list_framed_messages(decoder)
    if messages is None:
        return None
    rendered = decoder.chat.render_prompt(messages)
    before, found, after = rendered.partition(MARKER)
    if not found or MARKER in after:
        return None
    return PromptFrame(before, after, str(decoder.chat.tokenizer.convert_ids_to_tokens(decoder.chat.end_token_id)))


def list_framed_messages(decoder: Decoder) -> list[ChatMessage] | None:
    """The conversation with `MARKER` where a text stands; None where options come with each input."""
    with_options = decoder.template.scores_choices and not decoder.choices
    return None if with_options else decoder.list_messages(None, MARKER)


def list_answers(decoder: Decoder) -> list[str]:
    """All that may be written, where the task has closed labels; empty where it has none."""
    if not decoder.choices:
        return []
    return [decoder.chat.answer_prefix + text for text in decoder.template.list_choices(decoder.task)]


def chat_template_of(decoder: Decoder) -> str:
    """The base's template, or the plain one that is used for a base without one."""
    return str(decoder.chat.tokenizer.chat_template) if decoder.chat.has_template else PLAIN_TEMPLATE
