"""Backbones that many predictors share: one instance for each digest and process."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.backbones.forward.attention import use_short_attention
from loratory.backbones.forward.causal_backbone import create_backbone
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.memory import keep_freed_memory
from loratory.backbones.forward.quantization import QUANTIZATION
from loratory.backbones.loading.base_locations import find_base
from loratory.backbones.loading.bases import Base, describe_base, resolve_base
from loratory.backbones.loading.model_loader import attention_options_of, auto_class_of, max_positions_of, open_model
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.errors import BaseModelError, first_line


def load_backbone(base: Base, device: str = "cpu", short_attention: bool = True) -> EncoderBackbone:
    """A base's weights in memory, float32; raises BaseModelError when they do not fit its configuration."""
    keep_freed_memory()
    try:
        model, absent = open_model(base, auto_class_of(base), **attention_options_of(base.config))
        mute = base.kind == "causal" and any("lm_head" in name for name in absent)  # saved without an output layer
        made_up = ("pooler.",) if base.kind != "nli" else ()
        if missing := sorted(n for n in absent if not any(part in n for part in (*made_up, *["lm_head"] * mute))):
            raise ValueError(f"weights are missing: {', '.join(missing[:4])}")
    except BaseModelError:
        raise
    except Exception as problem:
        raise BaseModelError(
            f"the base {base.name!r} cannot be loaded: {first_line(problem)}",
            where=str(base.folder),
            remedy="check that the folder is complete",
        ) from problem
    if short_attention:
        use_short_attention(model)
    if mute:
        model.set_output_embeddings(None)  # type: ignore[no-untyped-call]
    return create_backbone(model, FastTokenizer.load(base.files, max_positions_of(model)), base, device)


class TorchBackbonePool:
    """One backbone per digest and process; without `keep` only as long as somebody else has it."""

    def __init__(self, device: str = "cpu", short_attention: bool = True, keep: bool = True) -> None:
        self.device, self._short_attention, self._precision = device, short_attention, "fp32"
        self._backbones: MutableMapping[str, EncoderBackbone] = {} if keep else WeakValueDictionary()

    def get_base(self, name: str) -> EncoderBackbone:
        """The backbone of a base that a spec names."""
        return self.add(resolve_base(name))

    def add(self, base: Base) -> EncoderBackbone:
        """The backbone of a resolved base."""
        found = self._backbones.get(base.digest)
        if found is None:
            found = self._backbones[base.digest] = load_backbone(base, self.device, self._short_attention)
            found.set_precision(self._precision)
        return found

    def set_precision(self, precision: str) -> None:
        """Answer in fp32 or bf16 from now on, with every backbone that is here or comes."""
        self._precision = precision
        for backbone in list(self._backbones.values()):
            backbone.set_precision(precision)

    def get(self, name: str, digest: str, source: Path | VerifiedFiles) -> EncoderBackbone:
        """By digest: already loaded, else the artifact's own trained model/, else the base, else a copy in base_<L>/.

        Files inside the artifact are those that its manifest lists, so the recorded digest names them.
        """
        files = open_files(source)
        if (found := self._backbones.get(digest)) is not None:
            return found
        plain, _, kind = digest.partition("+")
        if kind == QUANTIZATION:
            return self.get(name, plain, files).quantize()
        inside = [top for top in files.list_top_level() if files.open_subfolder(top).has("config.json")]
        if "model" in inside:
            return self.add(self._describe_copy(name, digest, "model", files))
        try:
            return self.add(find_base(name, digest, files.folder))
        except BaseModelError:
            copies = [top for top in inside if top.startswith("base_")]
            if not copies:
                raise
            backbone = self.add(self._describe_copy(name, digest, copies[0], files))
            backbone.tokenizer.raise_max_length(
                _read_backbone_facts(files).get("limit", 0)
            )  # its files were written for one fit
            return backbone

    def _describe_copy(self, name: str, digest: str, inner: str, files: VerifiedFiles) -> Base:
        facts, own = _read_backbone_facts(files), files.open_subfolder(inner)
        return replace(
            describe_base(str(own.folder), own), name=name, digest=digest, kind=facts["kind"], pooling=facts["pooling"]
        )


def _read_backbone_facts(files: VerifiedFiles) -> dict[str, Any]:
    """What an artifact says of its backbone."""
    file = next(file for name in ("encoder", "decoder") if files.has(file := f"{name}.json"))
    return dict(files.read_json(file)["backbone"])
