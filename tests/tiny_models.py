"""Tiny models with random weights and real fast tokenizers, a toy task, and what surrounds a fit, for all tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from loratory.backbones.forward.activation_cache import ActivationCache
from loratory.backbones.forward.causal_backbone import CausalBackbone
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.loading.bases import describe_base
from loratory.backbones.pool import load_backbone
from loratory.protocols import Adapter, Example, FitContext, TrainSet
from loratory.protocols.events import FitEvent, ignore_event
from loratory.specs.training import LossSpec, TrainingSpec
from loratory.tasks.classify import Classify
from loratory.training.checkpoints import NoCheckpoints
from loratory.training.targets import LabelTargets
from loratory.training.trainable_backbones import TrainableBackbone

BasePathOf = Callable[[str], Path]  # a family to the folder of its tiny base
BackboneOf = Callable[[str], EncoderBackbone]  # a family to its shared backbone
BASE_CONFIG = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
WIDE_CONFIG = {
    **BASE_CONFIG,
    "max_position_embeddings": 64,
    "initializer_range": 0.15,
}  # larger than usual: states must differ
GROUPED_CONFIG = {**WIDE_CONFIG, "num_key_value_heads": 2}
FAMILIES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "bert": ("BertConfig", WIDE_CONFIG),
    "roberta": ("RobertaConfig", {**WIDE_CONFIG, "max_position_embeddings": 66}),
    "deberta-v2": (
        "DebertaV2Config",
        {
            **WIDE_CONFIG,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "position_buckets": 16,
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_biased_input": False,
            "type_vocab_size": 0,
        },
    ),
    "modernbert": ("ModernBertConfig", {**WIDE_CONFIG, "local_attention": 16, "global_attn_every_n_layers": 2}),
    "distilbert": (
        "DistilBertConfig",
        {
            "dim": 32,
            "n_layers": 2,
            "n_heads": 4,
            "hidden_dim": 48,
            "max_position_embeddings": 64,
            "initializer_range": 0.15,
        },
    ),
    "llama": (
        "LlamaConfig",
        {**WIDE_CONFIG, "num_key_value_heads": 4},
    ),  # heads of its own each, so the short attention
    "qwen2": ("Qwen2Config", GROUPED_CONFIG),
    "qwen3": ("Qwen3Config", {**GROUPED_CONFIG, "head_dim": 8}),
    "smollm3": ("SmolLM3Config", GROUPED_CONFIG),
    "gemma2": ("Gemma2Config", {**GROUPED_CONFIG, "head_dim": 8, "final_logit_softcapping": 5.0}),
    "gemma3": ("Gemma3TextConfig", {**GROUPED_CONFIG, "head_dim": 8}),
    "phi": ("PhiConfig", WIDE_CONFIG),
    "phi3": ("Phi3Config", GROUPED_CONFIG),
    "roformer": ("RoFormerConfig", WIDE_CONFIG),  # in no table of ours: every linear layer
    "mpnet": ("MPNetConfig", {**WIDE_CONFIG, "max_position_embeddings": 66}),  # never calls registered attention
    "albert": (
        "AlbertConfig",
        {**WIDE_CONFIG, "embedding_size": 16, "num_hidden_groups": 2},
    ),  # a pooler unlike the others'
}
LISTED_FAMILIES = ("bert", "roberta", "deberta-v2", "modernbert", "distilbert", "llama", "qwen2", "qwen3")
TRAINABLE_FAMILIES = (*LISTED_FAMILIES, "roformer")  # families in which everything must work
TOKEN_TYPE_FAMILIES = ("bert", "deberta-v2", "roformer", "albert")  # families whose tokenizers give token types
CAUSAL_FAMILIES = ("llama", "qwen2", "qwen3")
GENERATING_FAMILIES = (
    *CAUSAL_FAMILIES,
    "smollm3",
    "gemma2",
    "gemma3",
    "phi",
    "phi3",
)  # families that are taught to write

TOPICS: Mapping[str, Sequence[str]] = {
    "card": ("my card was blocked", "the card did not arrive", "a new card please", "my card is broken"),
    "cash": ("the machine kept my cash", "no cash came out", "I need cash now", "cash withdrawal failed"),
    "login": ("I cannot log in", "my password is wrong", "the login code is late", "log in fails again"),
}
OPENINGS = ("hello,", "please help:", "since monday", "today", "what now,", "for a week")
TEXTS = (
    "hello",
    "my card was blocked and the login code is late since monday, please help",
    "cash",
    "no cash came out today",
    "hello",
    "what now, the machine kept my cash and my card was blocked for a week; I cannot log in",
)
SPECIAL_TOKENS = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]"}


def make_corpus() -> list[str]:
    """Every sentence of the toy task."""
    return [f"{opening} {words}" for listed in TOPICS.values() for words in listed for opening in OPENINGS]


def make_vocabulary() -> list[str]:
    """The words of the toy task but a few, which are left to pieces."""
    found = {word.strip(",:;") for sentence in make_corpus() for word in sentence.split()}
    return sorted(found - {"monday", "withdrawal", "blocked"})


def make_word_piece_tokenizer(typed: bool = True) -> Any:
    """A BERT-like tokenizer: [CLS] a [SEP], and pairs, with token types or without.

    It is written and not trained, because training breaks ties by chance.
    """
    letters = sorted(set("".join(make_corpus())) - {" "})
    tokens = [
        *SPECIAL_TOKENS.values(),
        *letters,
        *(f"##{c}" for c in letters),
        *(w for w in make_vocabulary() if len(w) > 1),
    ]
    made = Tokenizer(
        models.WordPiece(vocab={token: i for i, token in enumerate(tokens)}, unk_token=SPECIAL_TOKENS["unk"])
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special: dict[str, Any] = {f"{name}_token": token for name, token in SPECIAL_TOKENS.items()}
    special["model_input_names"] = ["input_ids", *(["token_type_ids"] if typed else []), "attention_mask"]
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=64, **special)  # type: ignore[no-untyped-call]


END_OF_TEXT = "<|endoftext|>"


def make_bpe_tokenizer(start: bool = True) -> Any:
    """A byte-level tokenizer: Llama-like (starts with <s>, no padding token) or Qwen-like (no start, id 0 is "!")."""
    tokens = ["<s>", "</s>"] if start else []
    tokens += sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in make_vocabulary():
        whole = word[0]
        for letter in word[1:]:
            if (whole, letter) not in merges:
                merges.append((whole, letter))
            whole += letter
            if whole not in tokens:
                tokens.append(whole)
    made = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    inputs = ["input_ids", "attention_mask"]
    if not start:
        return transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=made,
            eos_token=END_OF_TEXT,
            pad_token=END_OF_TEXT,
            unk_token=END_OF_TEXT,
            model_input_names=inputs,
        )
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return transformers.PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", model_input_names=inputs
    )


def make_config(family: str, tokenizer: Any, **more: Any) -> Any:
    """A tiny configuration of a family for a tokenizer."""
    kind, values = FAMILIES[family]
    ids = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": 1}  # decoders seldom name a padding id
    if family not in GENERATING_FAMILIES:
        ids = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    return getattr(transformers, kind)(vocab_size=len(tokenizer), **{**ids, **values, **more})


def save_base(folder: Path, family: str, seed: int = 7, kind: str = "AutoModel", **more: Any) -> Path:
    """A model folder with random weights and its tokenizer."""
    tokenizer = (
        make_bpe_tokenizer(start=family == "llama")
        if family in CAUSAL_FAMILIES
        else make_word_piece_tokenizer(family in TOKEN_TYPE_FAMILIES)
    )
    config = make_config(family, tokenizer, **more)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = getattr(transformers, kind).from_config(config)
        for name, weight in model.named_parameters():  # zeros and ones would hide what is forgotten
            if weight.ndim == 1 and "bias" in name:
                torch.nn.init.normal_(weight, std=0.1)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def save_causal_model(
    folder: Path, family: str = "llama", template: str | None = CHATML, max_positions: int = 320, **more: Any
) -> Path:
    """A tiny causal model with a chat template."""
    tokenizer = make_bpe_tokenizer(start=family == "llama")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.model_max_length = max_positions
    tokenizer.chat_template = template
    config = make_config(family, tokenizer, **{"max_position_embeddings": max_positions, **more})
    torch.manual_seed(5)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
    tokenizer.save_pretrained(folder)
    return folder


def load_backbone_from(folder: Path) -> EncoderBackbone:
    """A fresh backbone of a folder."""
    return load_backbone(describe_base(str(folder), folder))


def load_causal_backbone_from(folder: Path) -> CausalBackbone:
    """A fresh backbone of a folder, which writes."""
    made = load_backbone_from(folder)
    assert isinstance(made, CausalBackbone)
    return made


def make_random_adapter(backbone: EncoderBackbone, rank: int = 4, seed: int = 1, **more: Any) -> Adapter:
    """An adapter that changes answers: B is not zero."""
    targets, _ = backbone.find_target_modules()
    config = {"r": rank, "lora_alpha": 2 * rank, "target_modules": list(targets), **more}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        live = TrainableBackbone(backbone, config)
        for weight in live.trainable_parameters().values():
            torch.nn.init.normal_(weight, std=0.2)
    return live.extract_adapter()


def make_task(labels: tuple[str, ...] = ("card", "cash", "login")) -> Classify:
    """The toy task, settled."""
    return Classify(labels=labels)


def make_examples(kinds: Sequence[str] = ("card", "cash", "login"), openings: slice = slice(None)) -> list[Example]:
    """Examples of the toy task."""
    made = [(f"{o} {words}", k) for k in kinds for words in TOPICS[k] for o in OPENINGS[openings]]
    return [Example({"text": text}, {"label": label}, origin=f"toy:{i}") for i, (text, label) in enumerate(made)]


def make_train_set(kinds: Sequence[str] = ("card", "cash", "login")) -> TrainSet:
    """48 examples to learn from (of three kinds) and 24 to validate on."""
    return TrainSet(make_examples(kinds, slice(0, 4)), make_examples(kinds, slice(4, 6)))


def make_context(
    seed: int = 1,
    checkpoints: Any = None,
    report: Callable[[FitEvent], None] = ignore_event,
    stopping: Callable[[], bool] = lambda: False,
    **training: Any,
) -> FitContext:
    """What surrounds a fit, in fp32 unless told otherwise."""
    spec = TrainingSpec(**{"precision": "fp32", "epochs": 2, "batch_tokens": 96, "batch_examples": 8, **training})
    kept = NoCheckpoints() if checkpoints is None else checkpoints
    return FitContext(
        seed,
        run_locally,
        kept,
        ActivationCache(run_locally),
        training=spec,
        report=report,
        should_stop=stopping,
        device="cpu",
    )


def compute_label_losses(logits: torch.Tensor, targets: torch.Tensor, **loss: Any) -> torch.Tensor:
    """The loss float[B] of logits float[B, L] against int[B], by the options of `loss:`."""
    batch = LabelTargets().make_batch(logits, targets, torch.ones(len(targets)), [Example({})] * len(targets))
    made: torch.Tensor = LossSpec(**loss).create_objective().compute_losses(batch)
    return made
