"""Heads on an encoder's states: `pooled` (cosine to prototypes) and `stock` (what transformers puts there)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from loratory.backbones.forward.activation_cache import pool_states
from loratory.errors import UnsupportedTask
from loratory.protocols import Backbone, StockNames

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

INITIAL_SCALE = 20.0  # where a fit starts; it is learned
HEAD_WEIGHTS_FILE, HEAD_FACTS_FILE = "head.safetensors", "head.json"  # a head beside its backbone
HEAD_CONFIG_KEYS = ("id2label", "label2id", "num_labels", "problem_type", "finetuning_task")


SEQUENCE_CLASSIFICATION = StockNames(
    "AutoModelForSequenceClassification", "SEQ_CLS", "text-classification", per_token=False
)
TOKEN_CLASSIFICATION = StockNames(
    "AutoModelForTokenClassification", "TOKEN_CLS", "token-classification", per_token=True
)


class PooledHead(nn.Module):
    """logits = scale * cos(pooled, prototype of the label) + bias. prototypes float[L, D].

    The formula is that of NormFace (Wang et al. 2017) without a margin; `pooling` is as the base was trained.
    """

    def __init__(self, width: int, labels: int, pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.prototypes = nn.Parameter(torch.zeros(labels, width))
        self.log_scale = nn.Parameter(torch.tensor(math.log(INITIAL_SCALE)))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States float[B, T, D], mask int[B, T] -> logits float[B, L]."""
        return self.compute_logits(pool_states(states, mask, self.pooling))

    def compute_logits(self, pooled: Tensor) -> Tensor:
        """Pooled float[B, D] -> logits float[B, L]."""
        cosine = normalize(pooled.float(), dim=-1) @ normalize(self.prototypes, dim=-1).T
        return self.log_scale.exp() * cosine + self.bias


class TokenHead(nn.Module):
    """One linear layer on every token's state: what stock token classifiers of most encoders have, dropout aside."""

    def __init__(self, width: int, tags: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, tags)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States float[B, T, D] -> logits float[B, T, C]; what lies under the padding means nothing."""
        return self.classifier(states.float())  # type: ignore[no-any-return]


class FrozenStates(nn.Module):
    """Stands where a task model's backbone stood: hands back the states that it is given as `inputs_embeds`."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.is_encoder_decoder = bool(getattr(backbone.config, "is_encoder_decoder", False))
        pooler = getattr(backbone, "pooler", None)
        if pooler is not None:
            self.pooler = pooler
            self.activation = getattr(backbone, "pooler_activation", None)  # ALBERT's pooler is a bare layer

    def forward(self, *args: Any, inputs_embeds: Tensor, **options: Any) -> Any:
        """States float[B, T, D] -> the output of a transformers backbone, pooled too where it had a pooler."""
        from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions, Seq2SeqModelOutput

        if self.is_encoder_decoder:
            return Seq2SeqModelOutput(last_hidden_state=inputs_embeds)
        pooler = getattr(self, "pooler", None)
        pooled = None
        if pooler is not None:
            activation = self.activation
            pooled = activation(pooler(inputs_embeds[:, 0])) if activation else pooler(inputs_embeds)
        return BaseModelOutputWithPoolingAndCrossAttentions(last_hidden_state=inputs_embeds, pooler_output=pooled)


class StockHead(nn.Module):
    """What stock transformers puts on this architecture for labels of texts, or of `tokens`, under its own names.

    Raises UnsupportedTask where that head is no function of the backbone's final states.
    """

    def __init__(self, config: PreTrainedConfig, labels: Sequence[str], pad: int, per_token: bool = False) -> None:
        super().__init__()
        self.config = build_labelled_config(config, labels, pad, per_token)
        self.model: Any = build_task_model(self.config, per_token).eval()
        self.prefix: str = self.model.base_model_prefix
        backbone = getattr(self.model, self.prefix)
        expected = self._run_reference(backbone)
        setattr(self.model, self.prefix, FrozenStates(backbone))
        if expected is None or not self._matches_reference(*expected):
            raise UnsupportedTask(
                f"the stock head of {self.config.model_type} does not work on its backbone's final states alone",
                where="head: stock",
                remedy="set head: pooled",
            )

    @torch.no_grad()
    def _run_reference(self, backbone: nn.Module) -> tuple[Tensor, Tensor, Tensor] | None:
        """States, mask and logits of the whole stock model on two short rows, one of them padded."""
        filler = self.config.pad_token_id
        word = 0 if filler else 1
        ids, mask = torch.tensor([[word] * 4, [word, word, filler, filler]]), torch.tensor([[1] * 4, [1, 1, 0, 0]])
        ids = self._place_end_token(ids, mask)
        try:
            states = backbone(input_ids=ids, attention_mask=mask).last_hidden_state
            return states, mask, self.model(input_ids=ids, attention_mask=mask).logits
        except (AttributeError, RuntimeError, TypeError, ValueError):
            return None

    @torch.no_grad()
    def _matches_reference(self, states: Tensor, mask: Tensor, logits: Tensor) -> bool:
        try:
            mine = self(states, mask)
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
            return False
        return mine.shape == logits.shape and torch.allclose(mine, logits, atol=1e-4)

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """States float[B, T, D], mask int[B, T] -> logits float[B, L]."""
        filler = self.config.pad_token_id
        ids = torch.where(mask.bool(), filler + 1, filler)  # heads on the last token find it by the padding
        ids = self._place_end_token(ids, mask)
        return self.model(input_ids=ids, attention_mask=mask, inputs_embeds=states).logits  # type: ignore[no-any-return]

    def _place_end_token(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The rows with the end token as their last real one, where the head looks for it (BART's does)."""
        if not getattr(self.config, "is_encoder_decoder", False) or self.config.eos_token_id is None:
            return ids
        return ids.scatter(1, (mask.sum(-1, keepdim=True) - 1).clamp_min(0), int(self.config.eos_token_id))

    def named_weights(self) -> dict[str, nn.Parameter]:
        """Parameters under their names in the stock model ("classifier.weight", "bert.pooler.dense.weight")."""
        return dict(self.model.named_parameters())

    def modules_to_save(self) -> list[str]:
        """The names PEFT's modules_to_save wants: the modules that own the head's parameters."""
        owners = {name.removeprefix(f"{self.prefix}.").partition(".")[0] for name in self.named_weights()}
        return sorted(owners)


def build_labelled_config(config: PreTrainedConfig, labels: Sequence[str], pad: int, per_token: bool = False) -> Any:
    """A copy of a configuration with these labels, and with the tokenizer's padding id where it has none of its own.

    A decoder's classifier looks for the last token before the padding: with id 0, a word in many vocabularies, it would
    pass over texts that end in that word.
    """
    from copy import deepcopy

    own = deepcopy(config)
    own.id2label, own.label2id = dict(enumerate(labels)), {label: i for i, label in enumerate(labels)}
    own.num_labels = len(labels)
    own.problem_type = None if per_token else "single_label_classification"
    if own.pad_token_id is None:
        own.pad_token_id = pad
    return own


def build_task_model(config: PreTrainedConfig, per_token: bool = False) -> Any:
    """The stock classifier of texts or tokens of a configuration, freshly initialised from torch's generator."""
    from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

    kind: Any = AutoModelForTokenClassification if per_token else AutoModelForSequenceClassification
    eager = {"attn_implementation": "eager"} if config.model_type in ("deberta", "deberta-v2") else {}
    if type(config) not in kind._model_mapping:
        raise UnsupportedTask(
            f"transformers has no {kind.__name__} for {config.model_type}",
            where="head: stock",
            remedy="set head: pooled",
        )
    return kind.from_config(config, **eager)


def make_head(kind: str, backbone: Backbone, labels: Sequence[str]) -> nn.Module:
    """A fresh head of a kind for a backbone."""
    if kind == "pooled":
        return PooledHead(backbone.width, len(labels), backbone.pooling)
    head = StockHead(backbone.config, labels, backbone.tokenizer.pad_token_id)
    own = getattr(
        backbone.model, "pooler", None
    )  # a pooler that the base was trained with is a better start than chance
    if own is not None and hasattr(getattr(head.model, head.prefix), "pooler"):
        getattr(head.model, head.prefix).pooler.load_state_dict(own.state_dict())
    return head


def make_token_head(kind: str, backbone: Backbone, tags: Sequence[str]) -> nn.Module:
    """A fresh head for a tag of every token; "stock" is that of the architecture's own token classifier."""
    if kind == "stock":
        return StockHead(backbone.config, tags, backbone.tokenizer.pad_token_id, per_token=True)
    return TokenHead(backbone.width, len(tags))


def as_stock(head: nn.Module | None, config: PreTrainedConfig, names: Sequence[str], pad: int) -> StockHead | None:
    """The head as stock transformers has it, or None where no stock class computes just that.

    The stock token head of most encoders is one linear layer; whether this architecture's is, its logits show.
    """
    if isinstance(head, StockHead) or not isinstance(head, TokenHead):
        return head if isinstance(head, StockHead) else None
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            stock = StockHead(config, names, pad, per_token=True)
            states = torch.randn(1, 4, head.classifier.in_features)
    except UnsupportedTask:
        return None
    own = collect_head_tensors(head)
    layer, there = stock.modules_to_save()[0], {name: t.shape for name, t in stock.named_weights().items()}
    given = {name.replace("classifier", layer, 1): t for name, t in own.items()}
    if there != {name: t.shape for name, t in given.items()}:
        return None
    load_head_tensors(stock, given)
    with torch.no_grad():
        wanted = states @ own["classifier.weight"].T + own["classifier.bias"]
        same = torch.allclose(stock(states, torch.ones(1, 4, dtype=torch.long)), wanted, atol=1e-5)
    return stock if same else None


def describe_head(head: nn.Module) -> dict[str, Any]:
    """What JSON must hold to build the head again."""
    if isinstance(head, PooledHead):
        return {"kind": "pooled", "pooling": head.pooling}
    return {"kind": "token" if isinstance(head, TokenHead) else "stock"}


def collect_head_tensors(head: nn.Module) -> dict[str, Tensor]:
    """The head's weights under the names it is saved with."""
    named: Mapping[str, Tensor] = head.named_weights() if isinstance(head, StockHead) else head.state_dict()
    return {name: t.detach().cpu().contiguous() for name, t in named.items()}


def load_head_tensors(head: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Load saved weights into a fresh head; every weight must be there."""
    (head.model if isinstance(head, StockHead) else head).load_state_dict(dict(tensors), strict=True)
    return head.requires_grad_(False).eval()


def save_head(folder: Path, head: nn.Module, facts: Mapping[str, Any]) -> None:
    """head.json, and head.safetensors of a head that no stock class has (prototypes, log_scale, bias; of tokens
    classifier.weight and .bias). facts: how the fit reads texts.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not isinstance(head, StockHead):
        save_file(collect_head_tensors(head), folder / HEAD_WEIGHTS_FILE, metadata={"format": "pt"})
    (folder / HEAD_FACTS_FILE).write_text(
        json.dumps({**describe_head(head), **facts}, indent=2) + "\n", encoding="utf-8"
    )


def save_backbone(model: PreTrainedModel, folder: Path) -> None:
    """A backbone without a head, as AutoModel opens it.

    Its config.json names the backbone's own class and no outputs: with labels in it stock classifiers would put a
    layer of
    random weights on the backbone and answer from that. With none they have no output, and fail.
    """
    model.save_pretrained(folder)
    file = folder / "config.json"
    config = {k: v for k, v in json.loads(file.read_text(encoding="utf-8")).items() if k not in HEAD_CONFIG_KEYS}
    config |= {"architectures": [type(model).__name__], "id2label": {}, "label2id": {}}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
