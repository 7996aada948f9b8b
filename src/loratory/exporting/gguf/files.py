"""A causal model in a GGUF file: metadata, tokenizer and weights, written and read with the package gguf.

Shapes as transformers has them: [outputs, inputs] of a matrix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from loratory.errors import MissingExtra, make_missing_extra
from loratory.exporting.gguf.architectures import (
    GgufArchitecture,
    GgufNumbers,
    is_rotary,
    pair_neighbours,
    split_halves,
)
from loratory.exporting.gguf.vocabulary import GgufVocabulary

Floats = npt.NDArray[np.float32]
FILE_TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}


def import_gguf() -> Any:
    """The package gguf; raises MissingExtra without it."""
    try:
        import gguf
    except ImportError as problem:
        raise make_missing_extra(problem.name or "gguf", "gguf") from problem
    return gguf


def check_gguf() -> MissingExtra | None:
    """The error where the package is not installed."""
    try:
        import_gguf()
    except MissingExtra as problem:
        return problem
    return None


@dataclass(frozen=True)
class GgufDescription:
    """What a file says of a model beside its weights."""

    architecture: GgufArchitecture
    numbers: GgufNumbers
    vocabulary: GgufVocabulary
    name: str
    description: str
    chat_template: str


def write_file(file: Path, kind: str, model: GgufDescription, tensors: Mapping[str, Floats]) -> list[str]:
    """Write a model in f32, f16 or q8_0; returns the names of matrices whose rows q8_0 cannot hold, which are f16.

    tensors: by the names of transformers. Vectors stay in f32.
    """
    gguf = import_gguf()
    writer = gguf.GGUFWriter(file, model.architecture.name)
    writer.add_type("model")
    writer.add_name(model.name)
    writer.add_description(model.description)
    writer.add_file_type(getattr(gguf.LlamaFileType, FILE_TYPES[kind]))
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _add_numbers(writer, model.numbers)
    _add_vocabulary(writer, model.vocabulary)
    writer.add_chat_template(model.chat_template)
    odd = _add_tensors(writer, kind, model, tensors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return odd


def _add_tensors(writer: Any, kind: str, model: GgufDescription, tensors: Mapping[str, Floats]) -> list[str]:
    gguf, numbers, odd = import_gguf(), model.numbers, []
    names = gguf.get_tensor_name_map(_find_kind(gguf, model.architecture.name), numbers.layers)
    for name, values in tensors.items():
        if numbers.tied and name == "lm_head.weight":
            continue
        chosen = _choose_type(gguf, kind, values)
        odd += [name] if kind == "q8_0" and values.ndim > 1 and chosen == gguf.GGMLQuantizationType.F16 else []
        own = values
        if model.architecture.pairs_neighbours and is_rotary(name):
            own = pair_neighbours(values, numbers.heads if ".q_proj" in name else numbers.key_value_heads)
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        writer.add_tensor(known, gguf.quantize(own, chosen), raw_dtype=chosen)
    return odd


def _find_kind(gguf: Any, name: str) -> Any:
    return next(kind for kind, known in gguf.MODEL_ARCH_NAMES.items() if known == name)


def _choose_type(gguf: Any, kind: str, values: Floats) -> Any:
    types = gguf.GGMLQuantizationType
    if kind == "f32" or values.ndim < 2:
        return types.F32
    whole_blocks = values.shape[-1] % gguf.GGML_QUANT_SIZES[types.Q8_0][0] == 0
    return types.Q8_0 if kind == "q8_0" and whole_blocks else types.F16


def _add_numbers(writer: Any, numbers: GgufNumbers) -> None:
    writer.add_context_length(numbers.context)
    writer.add_embedding_length(numbers.width)
    writer.add_block_count(numbers.layers)
    writer.add_feed_forward_length(numbers.hidden)
    writer.add_head_count(numbers.heads)
    writer.add_head_count_kv(numbers.key_value_heads)
    writer.add_key_length(numbers.head_width)
    writer.add_value_length(numbers.head_width)
    writer.add_rope_dimension_count(numbers.head_width)
    writer.add_rope_freq_base(numbers.rope_theta)
    writer.add_layer_norm_rms_eps(numbers.epsilon)
    writer.add_vocab_size(numbers.vocabulary)


def _add_vocabulary(writer: Any, vocabulary: GgufVocabulary) -> None:
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.rule)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
        writer.add_add_space_prefix(True)
    else:
        writer.add_token_merges(vocabulary.merges)
    writer.add_add_bos_token(vocabulary.adds_start)
    writer.add_add_eos_token(False)
    writer.add_eot_token_id(vocabulary.stop_token_id)
    known = (
        (writer.add_bos_token_id, vocabulary.start_token_id),
        (writer.add_eos_token_id, vocabulary.end_token_id),
        (writer.add_pad_token_id, vocabulary.pad_token_id),
        (writer.add_unk_token_id, vocabulary.unknown_token_id),
    )
    for add, place in known:
        if place is not None:
            add(place)


class GgufFile:
    """A file opened for reading."""

    def __init__(self, file: Path) -> None:
        self._gguf = import_gguf()
        self._reader = self._gguf.GGUFReader(file)
        self.architecture = str(self.read("general.architecture"))

    def read(self, key: str, default: Any = None) -> Any:
        """A value of the metadata; `{}` in the key stands for the architecture."""
        name = key.format(self.architecture) if "{}" in key else key
        field = self._reader.get_field(name)
        return default if field is None else field.contents()

    def read_numbers(self) -> GgufNumbers:
        """What `write_file` was given."""
        names = {one.name for one in self._reader.tensors}
        return GgufNumbers(
            self.read("{}.context_length"),
            self.read("{}.embedding_length"),
            self.read("{}.block_count"),
            self.read("{}.feed_forward_length"),
            self.read("{}.attention.head_count"),
            self.read("{}.attention.head_count_kv"),
            self.read("{}.attention.key_length"),
            self.read("{}.attention.layer_norm_rms_epsilon"),
            self.read("{}.rope.freq_base"),
            len(self.read("tokenizer.ggml.tokens")),
            "output.weight" not in names,
            "blk.0.attn_q.bias" in names,
        )

    def read_vocabulary(self) -> GgufVocabulary:
        """What `write_file` was given."""
        return GgufVocabulary(
            self.read("tokenizer.ggml.model"),
            self.read("tokenizer.ggml.pre"),
            tuple(self.read("tokenizer.ggml.tokens")),
            tuple(self.read("tokenizer.ggml.token_type")),
            tuple(self.read("tokenizer.ggml.merges", ())),
            tuple(self.read("tokenizer.ggml.scores", ())),
            bool(self.read("tokenizer.ggml.add_bos_token")),
            self.read("tokenizer.ggml.bos_token_id"),
            self.read("tokenizer.ggml.eos_token_id"),
            self.read("tokenizer.ggml.eot_token_id"),
            self.read("tokenizer.ggml.padding_token_id"),
            self.read("tokenizer.ggml.unknown_token_id"),
        )

    def read_tensors(self, architecture: GgufArchitecture, numbers: GgufNumbers, names: list[str]) -> dict[str, Floats]:
        """Widened to float32, under these names of transformers; of a tied output layer none."""
        there = {one.name: one for one in self._reader.tensors}
        known = self._gguf.get_tensor_name_map(_find_kind(self._gguf, self.architecture), numbers.layers)
        found = {}
        for name in names:
            own = there.get(known.get_name(name, try_suffixes=(".weight", ".bias")))
            if own is None:
                continue
            values = np.array(self._gguf.dequantize(own.data, own.tensor_type), dtype=np.float32)
            if architecture.pairs_neighbours and is_rotary(name):
                values = split_halves(values, numbers.heads if ".q_proj" in name else numbers.key_value_heads)
            found[name] = values
        return found
