"""Whether the files of a model's folder can be what they say, seen from their headers: nothing is allocated before.

A configuration decides what is allocated: `{"num_hidden_layers": 1000000}` over weights of two layers would fill the
memory before any library found that weights are missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loratory.artifacts.safetensors_headers import TensorInfo, count_elements, read_header
from loratory.artifacts.untrusted_files import (
    as_json_object,
    check_config_values,
    check_json_size,
    check_regular_file,
    describe_irregular_file,
    parse_json,
)
from loratory.artifacts.verified_files import UnlistedFiles, VerifiedFiles, open_files
from loratory.errors import ArtifactError, format_value
from loratory.protocols import JSON

if TYPE_CHECKING:
    from torch import nn

CONFIG_FILE = "config.json"
JSON_FILES = (  # files that transformers or we read as objects
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "added_tokens.json"),
    *("generation_config.json", "model.safetensors.index.json", "preprocessor_config.json", "1_Pooling/config.json"),
)
WIDTH_RANGE = (1, 131_072)
LAYER_RANGE = (1, 1024)
HEAD_RANGE = (1, 4096)
SIZE_RANGES: Mapping[str, tuple[int, int]] = {  # what decides how much is allocated: least, most
    **dict.fromkeys(("hidden_size", "d_model", "dim", "n_embd", "embedding_size", "head_dim", "d_kv"), WIDTH_RANGE),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), LAYER_RANGE),
    **dict.fromkeys(("encoder_layers", "decoder_layers", "num_decoder_layers"), (0, 1024)),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"), HEAD_RANGE),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), HEAD_RANGE),
    **dict.fromkeys(("intermediate_size", "hidden_dim", "n_inner", "d_ff"), (1, 4_194_304)),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "ffn_dim"), (1, 4_194_304)),
    "vocab_size": (1, 20_000_000),
    "type_vocab_size": (0, 100_000),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), (0, 100_000_000)),
    "num_labels": (1, 200_000),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), (0, 65_536)),
    **dict.fromkeys(("num_hidden_groups", "inner_group_num"), (1, 1024)),
    **dict.fromkeys(("position_buckets", "max_relative_positions"), (-1, 10_000_000)),
    **dict.fromkeys(("pad_token_id", "bos_token_id", "unk_token_id", "mask_token_id"), (-1, 20_000_000)),
}
DEPTH_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers", "decoder_layers")
ROW_KEYS = ("vocab_size", "hidden_size", "d_model", "dim", "n_embd")  # some tensor is at least that long
LABEL_MAPS = ("id2label", "label2id")
SPARE_FACTOR = 1.2  # how much more a model may have than its file: a pooler, a head, what tied weights share
SPARE_PARAMETERS = 4_000_000  # numbers that a small model may have more


@dataclass(frozen=True)
class ModelHeaders:
    """What the headers of a model's folder say."""

    config: Mapping[str, Any]
    headers: tuple[Mapping[str, TensorInfo], ...]  # of each safetensors file

    @property
    def elements(self) -> int:
        """How many numbers the weights have."""
        return count_elements(self.headers)


def inspect_model_folder(source: Path | VerifiedFiles) -> ModelHeaders:
    """Check the files of a model's folder by their headers; raises ArtifactError for what cannot be a model.

    No library of models is loaded, no weight is read, and nothing that blocks is opened. A config.json or weights that
    are missing are no fault here. Of files that are listed no others are looked at, and what is checked is what was
    hashed.
    """
    files = open_files(source)
    folder = files.folder
    if isinstance(files, UnlistedFiles):
        check_entries(folder)
    for name in JSON_FILES:
        if files.has(name):
            value = read_json_object(files, name)
            if not name.startswith(("tokenizer.json", "vocab.json")):
                check_config_values(value, str(folder / name))
    if files.has("labels.json"):
        check_config_values(read_json_value(files, "labels.json"), str(folder / "labels.json"))
    config = read_json_object(files, CONFIG_FILE) if files.has(CONFIG_FILE) else {}
    check_config(config, str(folder / CONFIG_FILE))
    weights = [name for name in files.list_top_level() if name.endswith(".safetensors") and files.has(name)]
    headers = tuple(read_header(folder / name) for name in weights)
    if config and headers:
        _check_weights_fit(config, headers, str(folder / CONFIG_FILE))
    return ModelHeaders(config, headers)


def read_json_object(files: VerifiedFiles, name: str) -> dict[str, Any]:
    """The object of a JSON file, from the bytes that were hashed. Raises ArtifactError."""
    return as_json_object(read_json_value(files, name), files.folder / name)


def read_json_value(files: VerifiedFiles, name: str) -> Any:
    """The value of a JSON file, from the bytes that were hashed; raises ArtifactError."""
    check_json_size(check_regular_file(files.folder / name), files.folder / name)  # before all of it is hashed
    with files.stream(name) as data:
        check_json_size(data.size, files.folder / name)
        held = data.read(data.size)
    return parse_json(held, files.folder / name)


def check_entries(folder: Path) -> None:
    """Raise ArtifactError for entries that are no files and no folders, for links to nowhere, and folders in place of
    files: opening them would wait for ever, or read what is not of the model.
    """
    try:
        entries = sorted(folder.iterdir())
    except OSError as problem:
        raise ArtifactError(f"the folder cannot be read ({problem.strerror})", where=str(folder)) from problem
    if len(entries) > 10_000:
        raise ArtifactError(f"the folder has {len(entries):,} entries", where=str(folder), allowed="a model's files")
    for entry in entries:
        named_as_file = entry.suffix in (".json", ".safetensors", ".txt", ".model", ".jinja")
        if named_as_file or (entry.is_symlink() and not entry.exists()):
            check_regular_file(entry)
        elif entry.exists() and describe_irregular_file(entry) not in (None, "a folder"):
            check_regular_file(entry)


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Raise ArtifactError for values of config.json whose type or range cannot be; objects inside it count too."""
    check_config_values(config, where)
    for key, value in config.items():
        if isinstance(value, dict) and key not in LABEL_MAPS:
            check_config(value, where)
        elif key in SIZE_RANGES and value is not None:
            _check_size(key, value, where)
        elif "dropout" in key and isinstance(value, (int, float)) and not 0 <= value <= 1:
            raise ArtifactError(f"{key} is {format_value(value)}", where=where, allowed="from 0 to 1")
        elif key.endswith(("_eps", "epsilon")) and value is not None and not _is_epsilon(value):
            raise ArtifactError(f"{key} is {format_value(value)}", where=where, allowed="from 0 to below 1")
    if config.get("model_type") is not None and not isinstance(config["model_type"], str):
        raise ArtifactError(
            f"model_type is {format_value(config['model_type'])}", where=where, allowed="a name, such as bert"
        )
    _check_architectures(config.get("architectures"), where)
    _check_labels(config, where)


def _is_epsilon(value: JSON) -> bool:
    return type(value) in (int, float) and 0 <= value < 1


def _check_size(key: str, value: JSON, where: str) -> None:
    least, most = SIZE_RANGES[key]
    if type(value) is not int or not least <= value <= most:
        raise ArtifactError(
            f"{key} is {format_value(value)}",
            where=where,
            allowed=f"a whole number from {least} to {most:,}",
            remedy="put back the config.json that the weights were saved with",
        )


def _check_architectures(value: JSON, where: str) -> None:
    if value is None or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        return
    raise ArtifactError(
        f"architectures is {format_value(value)}", where=where, allowed='a list of names: ["BertModel"]'
    )


def _check_labels(config: Mapping[str, Any], where: str) -> None:
    most = SIZE_RANGES["num_labels"][1]
    for key in LABEL_MAPS:
        value = config.get(key)
        if value is not None and (not isinstance(value, dict) or len(value) > most):
            what = f"has {len(value):,} labels" if isinstance(value, dict) else f"is {format_value(value)}"
            raise ArtifactError(f"{key} {what}", where=where, allowed=f"a mapping of at most {most:,} labels")


def _check_weights_fit(config: Mapping[str, Any], headers: tuple[Mapping[str, TensorInfo], ...], where: str) -> None:
    """Raise ArtifactError where the weights are too few or too small for the configuration.

    A layer of its own has a tensor at least, so there are as many tensors as layers, unless layers share their weights
    (ALBERT, which says num_hidden_groups). A table of `vocab_size` rows is a tensor of that length.
    """
    tensors = sum(map(len, headers))
    longest = max(max(one.shape, default=1) for header in headers for one in header.values())
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for key in DEPTH_KEYS if "num_hidden_groups" not in part else ():
            if isinstance(part.get(key), int) and part[key] > tensors:
                raise _too_small_error(f"{key} is {part[key]:,}, and the weights are {tensors:,} tensors", where)
        for key in ROW_KEYS if part is config else ():
            if isinstance(part.get(key), int) and part[key] > longest:
                raise _too_small_error(
                    f"{key} is {part[key]:,}, and no tensor of the weights is longer than {longest:,}", where
                )


def check_parameter_count(model: nn.Module, elements: int, where: str) -> None:
    """Raise ArtifactError where a model on the meta device has more numbers than a file of so many could fill."""
    needed = sum(one.numel() for one in (*model.parameters(), *model.buffers()))
    if needed > SPARE_FACTOR * elements + SPARE_PARAMETERS:
        raise _too_small_error(f"it describes a model of {needed:,} numbers, and the weights are {elements:,}", where)


def _too_small_error(what: str, where: str) -> ArtifactError:
    return ArtifactError(
        what, where=where, allowed="the config.json that the weights were saved with", remedy="download both again"
    )


def inspect_adapter_folder(source: Path | VerifiedFiles) -> Mapping[str, TensorInfo]:
    """Check an adapter's two files by their headers, as `inspect_model_folder` does; the header of its weights.

    Which methods and fields are taken is `adapters.read_adapter`'s to say. Raises ArtifactError.
    """
    files = open_files(source)
    if isinstance(files, UnlistedFiles):
        check_entries(files.folder)
    where = str(files.folder / "adapter_config.json")
    config = read_json_object(files, "adapter_config.json")
    check_config_values(config, where)
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or not 1 <= rank <= WIDTH_RANGE[1]:
        raise ArtifactError(
            f"r is {format_value(rank)}", where=where, allowed=f"a whole number from 1 to {WIDTH_RANGE[1]:,}"
        )
    if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not 0 < alpha <= 1e9:
        raise ArtifactError(f"lora_alpha is {format_value(alpha)}", where=where, allowed="a number above 0")
    for key in ("peft_type", "task_type", "base_model_name_or_path"):
        if not isinstance(config.get(key), (str, type(None))):
            raise ArtifactError(f"{key} is {format_value(config[key])}", where=where, allowed="a text")
    if not files.has("adapter_model.safetensors"):
        return {}
    header = read_header(files.folder / "adapter_model.safetensors")
    for name, one in header.items():
        if ".lora_A." in name and (len(one.shape) != 2 or one.shape[0] != rank):
            raise ArtifactError(
                f"r is {rank}, and {name} has the shape {list(one.shape)}",
                where=where,
                allowed="the rank that the weights have",
                remedy="put back the adapter_config.json that the weights were saved with",
            )
    return header
