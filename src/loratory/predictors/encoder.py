"""An encoder with a head, and LoRA or not: asks `run` for its outputs and reads them by its form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from safetensors.torch import save_file

from loratory.artifacts.contents import Files, files_of
from loratory.models import adapters
from loratory.models.bases import origin_of
from loratory.models.places import leave_name
from loratory.models.weights import read_tensors
from loratory.predictors import finders
from loratory.predictors.finders import Finder
from loratory.predictors.forms import FORMS, Row
from loratory.predictors.heads import (
    StockHead,
    as_stock,
    fill_head,
    head_facts,
    head_tensors,
    save_backbone,
    save_head,
)
from loratory.protocols import JSON, Asked, Encode, Input, Network, Prediction, Run, Scores, Size, Trunks


@dataclass(frozen=True, eq=False)
class Encoder:
    """`learned` counts the parameters that examples changed; `owned` says that the trunk belongs to this predictor."""

    task: Any
    form: str
    network: Network
    max_tokens: int
    learned: int
    owned: bool = False
    long: str = "head"  # how longer texts are read
    finders: tuple[Finder, ...] = ()  # of spans: what they find stands

    @cached_property
    def stock(self) -> StockHead | None:
        """The head as stock transformers has it, where a stock class computes just that."""
        trunk: Any = self.network.trunk
        return as_stock(self.network.head, trunk.config, FORMS[self.form].outputs(self.task), trunk.tokenizer.pad)

    @classmethod
    def fresh(cls, task: Any, form: str, network: Network, learned: int, training: Any) -> Self:
        """What a fit makes: it reads texts as the training options say."""
        return cls(task, form, network, training.max_tokens, learned, long=training.long)

    def rows(self, inputs: Sequence[Input]) -> list[list[Row]]:
        """Token ids and offsets of each input's rows, none longer than what was trained on."""
        return FORMS[self.form].rows(self.task, self.network.trunk.tokenizer, inputs, self.max_tokens, self.long)

    @property
    def max_row_tokens(self) -> int:
        """Tokens of a row."""
        trunk: Any = self.network.trunk
        return int(min(self.max_tokens, trunk.tokenizer.limit))

    @property
    def shared(self) -> int:
        """Tokens that a row shares with the next one of the same text; 0 where a text is one row."""
        return FORMS[self.form].shared(self.max_row_tokens, self.long)

    def save_tokenizer(self, folder: Path) -> None:
        """The tokenizer's files, which cut and pad texts as this predictor reads them.

        `long: ends`, which joins two parts of a text, is beyond them: they keep its beginning.
        """
        trunk: Any = self.network.trunk
        trunk.tokenizer.save(folder, self.max_row_tokens, self.shared, padded="right")

    def save_head(self, folder: Path) -> None:
        """The head beside a trunk, and how texts are read, for our own import."""
        facts: dict[str, JSON] = {"form": self.form, "max_tokens": self.max_row_tokens, "long": self.long}
        if getattr(self.task, "in_words", False):
            facts["whole_words"] = True
        assert self.network.head is not None
        save_head(folder, self.stock or self.network.head, facts)

    def predict(self, inputs: Sequence[Input], run: Run) -> list[Prediction]:
        asked = self.ask(inputs)
        return asked.read(run(asked.requests))

    def judged(self, inputs: Sequence[Input], run: Run) -> list[tuple[Prediction, Scores]]:
        asked = self.ask(inputs)
        outputs = run(asked.requests)
        assert asked.judge is not None
        return list(zip(asked.read(outputs), asked.judge(outputs), strict=True))

    def ask(self, inputs: Sequence[Input]) -> Asked:
        """Outputs for every row of every input."""
        rows, form = self.rows(inputs), FORMS[self.form]

        def parts(outputs: Sequence[Any]) -> list[list[Any]]:
            each = iter(outputs)
            return [[next(each) for _ in mine] for mine in rows]

        return Asked(
            [Encode(self.network, ids) for mine in rows for ids, _ in mine],
            lambda outputs: self._read(inputs, rows, parts(outputs)),
            lambda outputs: [form.beside(self.network.head, mine) for mine in parts(outputs)],
        )

    def _read(
        self, inputs: Sequence[Input], rows: Sequence[Sequence[Row]], outputs: Sequence[Sequence[Any]]
    ) -> list[Prediction]:
        made = FORMS[self.form].read(self.task, inputs, rows, outputs)
        if not self.finders:
            return made
        texts = [self.task.text(input) for input in inputs]
        return [finders.assisted(self.task, self.finders, *one) for one in zip(texts, made, strict=True)]

    def size(self) -> Size:
        trunk: Any = self.network.trunk
        own = [self.network.adapter.tensors] if self.network.adapter else []
        extra = sum(t.numel() for tensors in (*own, self._head()) for t in tensors.values())
        return Size(self.learned, trunk.parameters() + extra)

    def _head(self) -> Mapping[str, Any]:
        return head_tensors(self.network.head) if self.network.head is not None else {}

    def save(self, folder: Path) -> None:
        trunk: Any = self.network.trunk
        head = self.network.head
        assert head is not None
        save_file(dict(self._head()), folder / "head.safetensors", metadata={"format": "pt"})
        if self.network.adapter:
            self.save_adapter(folder / "adapter", f"base_{len(FORMS[self.form].outputs(self.task))}")
        if self.owned:
            save_backbone(trunk.model, folder / "model")
            self.save_tokenizer(folder / "model")
        if self.finders:
            finders.write(folder / finders.FILE, self.finders)
        facts: dict[str, JSON] = {
            "form": self.form,
            "head": head_facts(head),
            "max_tokens": self.max_tokens,
            "long": self.long,
            "learned": self.learned,
            "trunk": {
                "name": leave_name(trunk),
                "digest": trunk.digest,
                "kind": trunk.kind,
                "pooling": trunk.pooling,
                "limit": trunk.tokenizer.limit,
            },
            "adapter": self.network.adapter.digest if self.network.adapter else None,
            "prefix": self.stock.prefix if self.network.adapter and self.stock else "",  # of the adapter's trunk
            "owned": self.owned,
        }
        (folder / "encoder.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def save_adapter(self, folder: Path, base: str) -> None:
        """PEFT's folder over the base of that name: a stock head makes it an adapter of the whole classifier."""
        trunk, adapter, head, stock = self.network.trunk, self.network.adapter, self.stock, FORMS[self.form].stock
        assert adapter is not None
        origin, licence = origin_of(trunk.name)
        facts: dict[str, JSON] = {"base_model_name_or_path": base, "revision": trunk.digest}
        facts |= {"base_model": origin, "license": licence}
        self.save_head(folder)
        if head is None:
            facts |= {"opener": "AutoModel", "task_type": "FEATURE_EXTRACTION", "pipeline_tag": "feature-extraction"}
            adapters.write(folder, adapter, facts)
            return
        facts |= {"opener": stock.opener, "task_type": stock.task_type, "modules_to_save": head.modules_to_save()}
        facts["pipeline_tag"] = stock.pipeline
        adapters.write(folder, adapter, facts, head.prefix, head_tensors(head))

    @classmethod
    def load(cls, source: Path | Files, task: Any, trunks: Trunks) -> Self:
        files = files_of(source)
        facts = files.json("encoder.json")
        trunk: Any = trunks.get(facts["trunk"]["name"], facts["trunk"]["digest"], files)
        head = FORMS[facts["form"]].head(facts["head"]["kind"], task, trunk)
        if "pooling" in facts["head"]:
            head.pooling = facts["head"]["pooling"]
        fill_head(head, read_tensors(files, "head.safetensors")).to(trunk.device)
        prefix = facts.get("prefix", head.prefix if isinstance(head, StockHead) else "")
        adapter = adapters.read(files.within("adapter"), prefix) if facts["adapter"] else None
        network, found = Network(trunk, adapter, head), finders.read(files)
        read = {name: facts[name] for name in ("max_tokens", "learned", "owned")}
        return cls(task, facts["form"], network, **read, long=facts.get("long", "head"), finders=found)
