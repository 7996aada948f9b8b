"""An encoder with a head, and LoRA or not: asks `run` for its outputs and reads them by its form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from safetensors.torch import save_file

from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.backbones import adapters
from loratory.backbones.loading.base_locations import record_base_location
from loratory.backbones.loading.bases import origin_of
from loratory.backbones.loading.weights import read_tensors
from loratory.predictors import span_rules
from loratory.predictors.heads import (
    StockHead,
    as_stock,
    collect_head_tensors,
    describe_head,
    load_head_tensors,
    save_backbone,
    save_head,
)
from loratory.predictors.output_adapters import load_output_adapter
from loratory.predictors.span_rules import SpanRule
from loratory.protocols import (
    JSON,
    BackbonePool,
    EncodeRequest,
    InferencePlan,
    Input,
    Network,
    OutputAdapter,
    ParameterCount,
    Prediction,
    RequestRunner,
    Row,
    Scores,
    Task,
)
from loratory.specs.training import TrainingSpec


@dataclass(frozen=True, eq=False)
class Encoder:
    """A task answered by a backbone, an adapter and a head.

    `trained_parameters` counts what examples changed; `owns_backbone` says that the backbone belongs to this predictor.
    """

    task: Any
    output_adapter_name: str
    network: Network
    max_tokens: int
    trained_parameters: int
    owns_backbone: bool = False
    long_text_mode: str = "head"  # how longer texts are read
    span_rules: tuple[SpanRule, ...] = ()  # of spans: what they find stands

    @cached_property
    def output_adapter(self) -> OutputAdapter[Any]:
        """How the task is put."""
        return load_output_adapter(self.output_adapter_name)

    @cached_property
    def stock_head(self) -> StockHead | None:
        """The head as stock transformers has it, where a stock class computes just that."""
        backbone = self.network.backbone
        return as_stock(
            self.network.head,
            backbone.config,
            self.output_adapter.list_output_names(self.task),
            backbone.tokenizer.pad_token_id,
        )

    @classmethod
    def from_training(
        cls, task: Task, output_adapter_name: str, network: Network, trained_parameters: int, training: TrainingSpec
    ) -> Self:
        """What a fit makes: it reads texts as the training options say."""
        return cls(
            task, output_adapter_name, network, training.max_tokens, trained_parameters, long_text_mode=training.long
        )

    def encode_rows(self, inputs: Sequence[Input]) -> list[list[Row]]:
        """Token ids and offsets of each input's rows, none longer than what was trained on."""
        return self.output_adapter.encode_rows(
            self.task, self.network.backbone.tokenizer, inputs, self.max_tokens, self.long_text_mode
        )

    @property
    def max_row_tokens(self) -> int:
        """Tokens of a row."""
        backbone = self.network.backbone
        return min(self.max_tokens, backbone.tokenizer.max_length)

    @property
    def row_overlap(self) -> int:
        """Tokens that a row shares with the next one of the same text; 0 where a text is one row."""
        return self.output_adapter.compute_row_overlap(self.max_row_tokens, self.long_text_mode)

    def save_tokenizer(self, folder: Path) -> None:
        """The tokenizer's files, which cut and pad texts as this predictor reads them.

        `long: ends`, which joins two parts of a text, is beyond them: they keep its beginning.
        """
        backbone = self.network.backbone
        backbone.tokenizer.save(folder, self.max_row_tokens, self.row_overlap, padding_side="right")

    def save_head(self, folder: Path) -> None:
        """The head beside a backbone, and how texts are read, for our own import."""
        facts: dict[str, JSON] = {
            "form": self.output_adapter_name,
            "max_tokens": self.max_row_tokens,
            "long": self.long_text_mode,
        }
        if getattr(self.task, "word_aligned", False):
            facts["whole_words"] = True
        assert self.network.head is not None
        save_head(folder, self.stock_head or self.network.head, facts)

    def predict(self, inputs: Sequence[Input], run: RequestRunner) -> list[Prediction]:
        asked = self.plan(inputs)
        return asked.read_outputs(run(asked.requests))

    def predict_with_ood_scores(self, inputs: Sequence[Input], run: RequestRunner) -> list[tuple[Prediction, Scores]]:
        asked = self.plan(inputs)
        outputs = run(asked.requests)
        assert asked.score_ood is not None
        return list(zip(asked.read_outputs(outputs), asked.score_ood(outputs), strict=True))

    def plan(self, inputs: Sequence[Input]) -> InferencePlan:
        """Outputs for every row of every input."""
        rows, form = self.encode_rows(inputs), self.output_adapter

        def parts(outputs: Sequence[Any]) -> list[list[Any]]:
            each = iter(outputs)
            return [[next(each) for _ in mine] for mine in rows]

        return InferencePlan(
            [EncodeRequest(self.network, ids) for mine in rows for ids, _ in mine],
            lambda outputs: self._read_outputs(inputs, rows, parts(outputs)),
            lambda outputs: [form.score_ood(self.network.head, mine) for mine in parts(outputs)],
        )

    def _read_outputs(
        self, inputs: Sequence[Input], rows: Sequence[Sequence[Row]], outputs: Sequence[Sequence[Any]]
    ) -> list[Prediction]:
        made = self.output_adapter.read_outputs(self.task, inputs, rows, outputs)
        if not self.span_rules:
            return made
        texts = [self.task.text(input) for input in inputs]
        return [span_rules.apply_span_rules(self.task, self.span_rules, *one) for one in zip(texts, made, strict=True)]

    def count_parameters(self) -> ParameterCount:
        backbone = self.network.backbone
        own = [self.network.adapter.tensors] if self.network.adapter else []
        extra = sum(t.numel() for tensors in (*own, self._collect_head_tensors()) for t in tensors.values())
        return ParameterCount(self.trained_parameters, backbone.count_parameters() + extra)

    def _collect_head_tensors(self) -> Mapping[str, Any]:
        return collect_head_tensors(self.network.head) if self.network.head is not None else {}

    def save(self, folder: Path) -> None:
        backbone = self.network.backbone
        head = self.network.head
        assert head is not None
        save_file(dict(self._collect_head_tensors()), folder / "head.safetensors", metadata={"format": "pt"})
        if self.network.adapter:
            self.save_adapter(
                folder / "adapter",
                f"base_{len(self.output_adapter.list_output_names(self.task))}",
            )
        if self.owns_backbone:
            save_backbone(backbone.model, folder / "model")
            self.save_tokenizer(folder / "model")
        if self.span_rules:
            span_rules.save_span_rules(folder / span_rules.SPAN_RULES_FILE, self.span_rules)
        facts: dict[str, JSON] = {
            "form": self.output_adapter_name,
            "head": describe_head(head),
            "max_tokens": self.max_tokens,
            "long": self.long_text_mode,
            "learned": self.trained_parameters,
            "backbone": {
                "name": record_base_location(backbone),
                "digest": backbone.digest,
                "kind": backbone.kind,
                "pooling": backbone.pooling,
                "limit": backbone.tokenizer.max_length,
            },
            "adapter": self.network.adapter.digest if self.network.adapter else None,
            "prefix": self.stock_head.prefix
            if self.network.adapter and self.stock_head
            else "",  # of the adapter's backbone
            "owned": self.owns_backbone,
        }
        (folder / "encoder.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def save_adapter(self, folder: Path, base: str) -> None:
        """PEFT's folder over the base of that name: a stock head makes it an adapter of the whole classifier."""
        backbone, adapter, head, stock = (
            self.network.backbone,
            self.network.adapter,
            self.stock_head,
            self.output_adapter.stock_names,
        )
        assert adapter is not None
        origin, licence = origin_of(backbone.name)
        facts: dict[str, JSON] = {"base_model_name_or_path": base, "revision": backbone.digest}
        facts |= {"base_model": origin, "license": licence}
        self.save_head(folder)
        if head is None:
            facts |= {"opener": "AutoModel", "task_type": "FEATURE_EXTRACTION", "pipeline_tag": "feature-extraction"}
            adapters.write_adapter(folder, adapter, facts)
            return
        facts |= {"opener": stock.auto_class, "task_type": stock.task_type, "modules_to_save": head.modules_to_save()}
        facts["pipeline_tag"] = stock.pipeline
        adapters.write_adapter(folder, adapter, facts, head.prefix, collect_head_tensors(head))

    @classmethod
    def load(cls, source: Path | VerifiedFiles, task: Task, backbones: BackbonePool) -> Self:
        files = open_files(source)
        facts = files.read_json("encoder.json")
        backbone = backbones.get(facts["backbone"]["name"], facts["backbone"]["digest"], files)
        head = load_output_adapter(facts["form"]).build_head(facts["head"]["kind"], task, backbone)
        if "pooling" in facts["head"]:
            head.pooling = facts["head"]["pooling"]
        load_head_tensors(head, read_tensors(files, "head.safetensors")).to(backbone.device)
        prefix = facts.get("prefix", head.prefix if isinstance(head, StockHead) else "")
        adapter = adapters.read_adapter(files.open_subfolder("adapter"), prefix) if facts["adapter"] else None
        network, found = Network(backbone, adapter, head), span_rules.load_span_rules(files)
        return cls(
            task,
            facts["form"],
            network,
            facts["max_tokens"],
            facts["learned"],
            facts["owned"],
            long_text_mode=facts.get("long", "head"),
            span_rules=found,
        )
