"""A GGUF file, read with the package gguf and computed by transformers: stage by stage, to compare with a fit.

Everything comes from the file: numbers, tokenizer and weights, which are widened to float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from loratory.errors import ArtifactError
from loratory.exporting.gguf import vocabulary as vocabularies
from loratory.exporting.gguf.architectures import ARCHITECTURES, GgufArchitecture, GgufNumbers
from loratory.exporting.gguf.files import GgufFile
from loratory.exporting.gguf.vocabulary import GgufVocabulary
from loratory.protocols.exporters import StageOutputs

KINDS = ("f32", "f16", "q8_0")  # the most exact first


@dataclass(frozen=True, eq=False)
class GgufModel:
    """A model that writes: a text is its whole prompt, and the logits are of the token that comes next."""

    model: Any
    tokenizer: Any
    vocabulary: GgufVocabulary
    output_names: tuple[str, ...] = ()

    def run_stages(self, texts: Sequence[str]) -> list[StageOutputs]:
        """Each prompt alone. An empty one that gets no start token is the padding token."""
        return [self._run_one(text) for text in texts]

    @torch.no_grad()
    def _run_one(self, text: str) -> StageOutputs:
        ids = list(vocabularies.encode(self.tokenizer, self.vocabulary, text)) or [self.vocabulary.pad_token_id or 0]
        output = self.model(input_ids=torch.tensor([ids]), output_hidden_states=True)
        logits = output.logits[0, -1].double()
        return StageOutputs(
            tuple(ids), output.hidden_states[-1][0].double().numpy(), logits.numpy(), logits.softmax(-1).numpy()
        )


def open_gguf(folder: Path, kind: str | None = None) -> GgufModel:
    """The model of a folder, of its most exact file where no kind is named.

    Raises ArtifactError where there is none, MissingExtra without the package gguf.
    """
    files = [folder / f"model-{one}.gguf" for one in KINDS if kind in (None, one)]
    found = next((file for file in files if file.is_file()), None)
    if found is None:
        raise ArtifactError(
            "this folder holds no GGUF file of ours", where=str(folder), allowed=f"model-{kind or 'f16'}.gguf"
        )
    opened = GgufFile(found)
    vocabulary = opened.read_vocabulary()
    model = _build_model(opened, ARCHITECTURES[opened.architecture], opened.read_numbers())
    return GgufModel(model, vocabularies.build_tokenizer(vocabulary), vocabulary)


def _build_model(file: GgufFile, architecture: GgufArchitecture, numbers: GgufNumbers) -> Any:
    import transformers

    config = getattr(transformers, architecture.config_class)(
        vocab_size=numbers.vocabulary,
        hidden_size=numbers.width,
        num_hidden_layers=numbers.layers,
        intermediate_size=numbers.hidden,
        num_attention_heads=numbers.heads,
        num_key_value_heads=numbers.key_value_heads,
        head_dim=numbers.head_width,
        rms_norm_eps=numbers.epsilon,
        max_position_embeddings=numbers.context,
        rope_parameters={"rope_type": "default", "rope_theta": numbers.rope_theta},
        attention_bias=numbers.attention_bias,
        tie_word_embeddings=numbers.tied,
        pad_token_id=None,  # of some configurations it is a number beyond small vocabularies
    )
    with torch.random.fork_rng(devices=[]):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    names = [name for name in model.state_dict() if not (numbers.tied and name == "lm_head.weight")]
    tensors = {
        name: torch.from_numpy(values) for name, values in file.read_tensors(architecture, numbers, names).items()
    }
    if missing := sorted(set(names) - set(tensors)):
        raise ArtifactError(f"the GGUF file lacks {len(missing)} weights: {', '.join(missing[:4])}")
    model.load_state_dict(tensors, strict=False)
    model.tie_weights()
    return model.eval()
