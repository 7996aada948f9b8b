"""Folders with a certificate, made with torch and transformers alone: what the verifiers in Go and JavaScript read.

Nothing of `loratory.exporting` takes part, so that a test of a verifier fails for the verifier's sake.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from loratory.backbones.forward.activation_cache import pool_states
from loratory.backbones.loading.bases import locate_base
from loratory.predictors.calibrated import OperatingPoint, choose_labels, score_in_scope
from loratory.predictors.heads import PooledHead

LABELS = ("card", "cash", "login")
MAX_TOKENS = 24
BATCH_MEMBERS = ((0, 9, 3), (4, 10, 1, 2), (5, 6, 7, 8))
TEXTS = (
    "my card was blocked and the login code is late since monday, please help",
    "cash",
    "No CASH came out today!",
    "what now, the machine kept my cash and my card was blocked for a week; I cannot log in, and nobody answers me",
    "Crème brûlée à la café naïve",
    "",
    "x",
    "👩‍👩‍👧 money gone 😡",
    "حسابي مغلق ולא עובד",
    "我的卡被锁住了 please",
    "a\u0000b\tc\u200bd\u00ade \ufffd",
    "[SEP] card [MASK] 12,345.67 €",
    "\u210c\U0001d522\U0001d529\U0001d52d \u0406\u043eg\u0456n \u0130stanbul \ufb01ne",
    "word" * 40 + " end",
)


@dataclass(frozen=True)
class FolderPlan:
    """What a folder holds."""

    family: str = "bert"
    head: str = "pooled"  # pooled, stock or token
    pooling: str = "mean"
    temperature: float = 1.3
    point: Mapping[str, Any] | None = None  # an operating point


def write_certified_folder(folder: Path, plan: FolderPlan = FolderPlan(), form: str = "peft") -> Path:
    """A folder of a form, `peft` (weights) or `onnx` (a graph), with goldens and an honest certificate."""
    folder.mkdir(parents=True)
    made = TinyClassifier(plan)
    goldens = [made.make_golden(f"text-{i}", text) for i, text in enumerate(TEXTS)]
    batches = [
        {"kind": "batch", "id": f"batch-{i}", "members": [f"text-{m}" for m in members]}
        for i, members in enumerate(BATCH_MEMBERS)
    ]
    lines = [json.dumps(one, ensure_ascii=False) for one in [*goldens, *batches]]
    (folder / "goldens.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = made.write_weights(folder) if form == "peft" else made.write_graph(folder)
    certificate = {
        "kind": "loratory-certificate",
        "version": 1,
        "format": form,
        "tolerance_class": "exact",
        "model": {**made.describe(), "files": files},
        "goldens": {"file": "goldens.jsonl", "count": len(goldens), "batches": len(batches)},
        "measured": {"accuracy": None},
        "chain": {"exact_member": None},
        "passed": True,
        "stage": None,
    }
    sign(folder, certificate)
    return folder


def sign(folder: Path, certificate: dict[str, Any]) -> None:
    """Write certificate.json with the digests of what lies in the folder."""
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file())
    files = {name: _digest((folder / name).read_bytes()) for name in names if name != "certificate.json"}
    made = {key: value for key, value in certificate.items() if key != "digest"}
    made["files"] = files
    made["goldens"] = {**made["goldens"], "sha256": files["goldens.jsonl"]}
    text = json.dumps(made, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    made["digest"] = _digest(text.encode("utf-8"))
    (folder / "certificate.json").write_text(json.dumps(made, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def compute_checksums(states: np.ndarray[Any, Any]) -> list[float]:
    """c_1..c_4 of states [T, D], as docs/verifiers.md defines them, written out as the formula stands."""
    tokens, width = states.shape
    t, d = np.arange(tokens)[:, None], np.arange(width)[None, :]
    return [
        float((states * np.cos(0.7 * k * (t + 1) + 0.31 * (2 * k + 1) * (d + 1))).sum() / math.sqrt(tokens * width))
        for k in (1, 2, 3, 4)
    ]


FAMILY_CONFIGS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("BertConfig", {"layer_norm_eps": 1e-12}),
    "roberta": ("RobertaConfig", {"max_position_embeddings": 34, "pad_token_id": 0, "layer_norm_eps": 1e-5}),
    "distilbert": (
        "DistilBertConfig",
        {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48, "max_position_embeddings": 32},
    ),
}
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def spread_weight(weight: torch.Tensor, std: float) -> None:
    """Random values of a spread at which states differ from text to text; a scalar stays as it is."""
    with torch.no_grad():
        if weight.ndim > 1:
            weight.copy_(torch.randn_like(weight) * std)
        elif weight.ndim == 1:
            weight.add_(torch.randn_like(weight) / 9)


class TinyClassifier:
    """A small encoder with random weights, the embedded base's tokenizer, and a head."""

    def __init__(self, plan: FolderPlan) -> None:
        self.plan = plan
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(locate_base("minilm")))
        self.tokenizer.backend_tokenizer.no_padding()
        self.tokenizer.model_max_length = MAX_TOKENS
        torch.manual_seed(11)
        self.model = self._build_model()
        self.head = PooledHead(32, len(LABELS), plan.pooling)
        for name, weight in [*self.model.named_parameters(), *self.head.named_parameters()]:
            spread_weight(weight, 0.02 if "_embeddings" in name else 0.2)
        self.model.eval().requires_grad_(False)
        self.head.eval().requires_grad_(False)
        if plan.head != "token":
            self._balance_labels()

    def _build_model(self) -> Any:
        kind, values = FAMILY_CONFIGS[self.plan.family]
        sizes = {} if self.plan.family == "distilbert" else {**SIZES, "max_position_embeddings": 32}
        config = getattr(transformers, kind)(
            vocab_size=len(self.tokenizer), id2label=dict(enumerate(LABELS)), **{**sizes, **values}
        )
        opener: Any = {
            "pooled": transformers.AutoModel,
            "stock": transformers.AutoModelForSequenceClassification,
            "token": transformers.AutoModelForTokenClassification,
        }[self.plan.head]
        return opener.from_config(config, attn_implementation="eager")

    def _balance_labels(self) -> None:
        """Every label is as likely as the others on average, so that each is some text's answer."""
        logits = torch.stack([self._compute_logits(self._run(text)[1])[1] for text in TEXTS])
        bias = self.head.bias if self.plan.head == "pooled" else self._find_output_layer().bias
        bias -= logits.mean(0)

    def _find_output_layer(self) -> Any:
        classifier = self.model.classifier
        return getattr(classifier, "out_proj", classifier)

    def _run(self, text: str) -> tuple[list[int], Any]:
        """Ids of a text, and what the model makes of them."""
        ids = self.tokenizer(text, truncation=True, max_length=MAX_TOKENS)["input_ids"]
        row = torch.tensor([ids])
        return ids, self.model(input_ids=row, attention_mask=torch.ones_like(row), output_hidden_states=True)

    def _compute_logits(self, made: Any) -> tuple[torch.Tensor | None, torch.Tensor]:
        """The pooled state, where there is one, and the logits."""
        if self.plan.head != "pooled":
            return None, made.logits[0]
        states = made.hidden_states[-1]
        pooled = pool_states(states, torch.ones(states.shape[:2], dtype=torch.long), self.plan.pooling)
        return pooled, self.head.compute_logits(pooled)[0]

    def describe(self) -> dict[str, Any]:
        """The certificate's part on the model, files aside."""
        kind = "tag" if self.plan.head == "token" else "classify"
        return {
            "task": {"kind": kind},
            "labels": list(LABELS),
            "family": self.plan.family,
            "head": self.plan.head,
            "temperature": self.plan.temperature,
            "operating_point": self.plan.point,
            "max_tokens": MAX_TOKENS,
            "pad_id": self.tokenizer.pad_token_id,
            "pooling": self.plan.pooling if self.plan.head == "pooled" else None,
        }

    def make_golden(self, name: str, text: str) -> dict[str, Any]:
        """Everything that the model makes of a text."""
        ids, made = self._run(text)
        states = made.hidden_states
        pooled, logits = self._compute_logits(made)
        odds = (logits.double() / self.plan.temperature).softmax(-1)
        answer: Any = self._answer(odds.tolist()) if self.plan.head != "token" else {"spans": []}
        return {
            "id": name,
            "kind": "test",
            "text": text,
            "label": None,
            "tokens": ids,
            "layers": [compute_checksums(one[0].double().numpy()) for one in states],
            "pooled": None if pooled is None else compute_checksums(pooled.double().numpy()),
            "logits": logits.tolist(),
            "probabilities": odds.tolist(),
            "answer": answer,
            "abstained": answer is None,
        }

    def _answer(self, odds: Sequence[float]) -> str | None:
        if not self.plan.point:
            return LABELS[int(np.argmax(odds))]
        least = self.plan.point["least"]
        point = OperatingPoint(**{**self.plan.point, "least": -math.inf if least is None else least})
        rows = np.array([odds])
        (place,) = choose_labels(point, LABELS, rows, score_in_scope(point.score, rows, [{}])).tolist()
        return None if place < 0 else LABELS[place]

    def write_weights(self, folder: Path) -> dict[str, str | None]:
        """The folder merged/ of a fit; returns the certificate's `files`."""
        merged = folder / "merged"
        self.model.save_pretrained(merged)
        self._write_tokenizer(merged)
        self._write_base(folder)
        names = {"id2label": {str(place): label for place, label in enumerate(LABELS)}}
        (merged / "labels.json").write_text(json.dumps(names), encoding="utf-8")
        if self.plan.point:
            (folder / "operating.json").write_text(json.dumps(self.plan.point), encoding="utf-8")
        if self.plan.head == "pooled":
            save_file({n: t.contiguous() for n, t in self.head.state_dict().items()}, merged / "head.safetensors")
            facts = {"kind": "pooled", "pooling": self.plan.pooling, "max_tokens": MAX_TOKENS, "long": "head"}
            (merged / "head.json").write_text(json.dumps(facts), encoding="utf-8")
        head = "merged/head.safetensors" if self.plan.head == "pooled" else None
        return {
            "model": "merged/model.safetensors",
            "tokenizer": "merged/tokenizer.json",
            "head": head,
            "config": "merged/config.json",
        }

    def _write_base(self, folder: Path) -> None:
        """base_3/: the weights as they would be without an adapter on queries and values."""
        tensors = {name: t.clone() for name, t in self.model.state_dict().items()}
        made = torch.Generator().manual_seed(5)
        for name, tensor in tensors.items():
            if name.endswith(("query.weight", "value.weight", "q_lin.weight", "v_lin.weight")):
                tensors[name] = tensor - 0.1 * torch.randn(tensor.shape, generator=made)
        (folder / f"base_{len(LABELS)}").mkdir()
        save_file(tensors, folder / f"base_{len(LABELS)}" / "model.safetensors", metadata={"format": "pt"})

    def _write_tokenizer(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)
        self.tokenizer.backend_tokenizer.enable_truncation(MAX_TOKENS)
        self.tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))

    def write_graph(self, folder: Path) -> dict[str, str | None]:
        """model.onnx from ids to probabilities; returns the certificate's `files`."""
        graph = ProbabilityGraph(self)
        rows = torch.tensor([[101, 2026, 4003, 102], [101, 5356, 102, 0]])
        mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
        shape = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=32)}
        torch.onnx.export(
            graph,
            (rows, mask),
            str(folder / "model.onnx"),
            input_names=["input_ids", "attention_mask"],
            output_names=["logits", "probabilities"],
            dynamic_shapes={"input_ids": shape, "attention_mask": shape},
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        self._write_tokenizer(folder)
        return {"model": "model.onnx", "tokenizer": "tokenizer.json", "head": None, "config": None}


class ProbabilityGraph(torch.nn.Module):
    """Ids int[B, T] and mask int[B, T] to logits and probabilities, temperature in the probabilities."""

    def __init__(self, made: TinyClassifier) -> None:
        super().__init__()
        self.model, self.head, self.temperature = made.model, made.head, made.plan.temperature
        self.pooled = made.plan.head == "pooled"
        self.eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        made = self.model(input_ids=input_ids, attention_mask=attention_mask)
        logits = self.head(made.last_hidden_state, attention_mask) if self.pooled else made.logits
        return logits, (logits / self.temperature).softmax(-1)
