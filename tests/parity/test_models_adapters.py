"""Adapters on shared backbones: alone = mixed = saved = merged = stock PEFT, for every family."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from loratory.backbones import adapters
from loratory.backbones.forward.activation_cache import pool_states
from loratory.backbones.forward.attention import SHORT_ROW_LIMITS, short_attention, use_short_attention
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.forward.multi_lora import MultiLoraLinear
from loratory.errors import ArtifactError, BaseModelError, SpecError
from loratory.protocols import Adapter, EncodeRequest, Network, TokenIds
from loratory.regimes.lora import Lora
from loratory.training.trainable_backbones import TrainableBackbone
from tiny_models import (
    CAUSAL_FAMILIES,
    TEXTS,
    TRAINABLE_FAMILIES,
    BackboneOf,
    BasePathOf,
    load_backbone_from,
    make_context,
    make_random_adapter,
)


def rows_of(backbone: EncoderBackbone) -> list[TokenIds]:
    return [ids for ids, _ in backbone.tokenizer.encode_batch(list(TEXTS))]


def alone(backbone: EncoderBackbone, adapter: Adapter | None, rows: Iterable[TokenIds]) -> list[Tensor]:
    return [backbone.compute_states([row], [adapter])[0][0] for row in rows]


def apart(some: Iterable[Tensor], others: Iterable[Tensor]) -> float:
    """The largest difference, relative to the largest state; padded rows are compared as far as their text goes."""
    pairs = [(a[: min(len(a), len(b))], b[: min(len(a), len(b))]) for a, b in zip(some, others, strict=True)]
    return max(differing(a, b) for a, b in pairs)


def differing(ours: Tensor, theirs: Tensor, mask: Tensor | None = None) -> float:
    """The largest difference of real tokens, relative to the largest state where that is above 1."""
    kept = torch.ones(()) if mask is None else mask[..., None]
    return float(((ours - theirs) * kept).abs().max() / max(1.0, float((theirs * kept).abs().max())))


@pytest.mark.parametrize("family", [*TRAINABLE_FAMILIES, "mpnet"])
def test_a_mixed_batch_answers_each_row_as_alone(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    pattern, _ = backbone.find_layers()
    top = make_random_adapter(backbone, rank=2, seed=2, layers_to_transform=[1], layers_pattern=pattern)
    guests = [
        None,
        make_random_adapter(backbone, rank=4),
        top,
        make_random_adapter(backbone, rank=8, seed=3),
        None,
        top,
    ]
    assert top.first_layer == 1
    rows = rows_of(backbone)
    mixed, mask = backbone.compute_states(rows, guests)
    single = [alone(backbone, guest, [row])[0] for guest, row in zip(guests, rows, strict=True)]
    assert apart([states[: int(m.sum())] for states, m in zip(mixed, mask, strict=True)], single) < 1e-5
    assert apart(single[1:4], alone(backbone, None, rows[1:4])) > 0.1  # the adapters do something
    assert apart([single[3]], alone(backbone, guests[1], rows[3:4])) > 0.1  # and not the same


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_padding_does_not_change_answers(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    rows = rows_of(backbone)
    states, mask = backbone.compute_states(rows, [None] * len(rows))
    assert apart([s[: int(m.sum())] for s, m in zip(states, mask, strict=True)], alone(backbone, None, rows)) < 1e-5


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_saved_is_loaded_and_opens_in_stock_peft(
    backbone_of: BackboneOf, base_path_of: BasePathOf, family: str, tmp_path: Path
) -> None:
    backbone = backbone_of(family)
    adapter = make_random_adapter(backbone, use_rslora=True)
    facts = {"task_type": "FEATURE_EXTRACTION", "base_model_name_or_path": "base_3", "revision": backbone.digest}
    adapters.write_adapter(tmp_path / "adapter", adapter, facts)
    again = adapters.read_adapter(tmp_path / "adapter")
    assert again.digest == adapter.digest
    assert again.tensors.keys() == adapter.tensors.keys()
    assert all(torch.equal(again.tensors[name], t) for name, t in adapter.tensors.items())

    keys = load_file(tmp_path / "adapter" / "adapter_model.safetensors").keys()
    assert all(
        key.startswith("base_model.model.") and key.endswith((".lora_A.weight", ".lora_B.weight")) for key in keys
    )
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert (config["revision"], config["inference_mode"]) == (backbone.digest, True)

    stock = PeftModel.from_pretrained(
        transformers.AutoModel.from_pretrained(base_path_of(family)), tmp_path / "adapter"
    )
    rows = rows_of(backbone)
    with torch.no_grad():
        theirs = stock.eval()(**backbone.build_inputs(rows)).last_hidden_state
    ours, mask = backbone.compute_states(rows, [adapter] * len(rows))
    assert differing(ours, theirs, mask) < 1e-5
    assert apart(alone(backbone, adapter, rows), alone(backbone, None, rows)) > 0.1


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_merged_is_unmerged_and_the_shared_backbone_is_untouched(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    before = {name: t.clone() for name, t in backbone.model.state_dict().items()}
    adapter = make_random_adapter(backbone)
    own = adapters.merge_adapter(backbone.model, adapter)
    rows = rows_of(backbone)
    with torch.no_grad():
        theirs = own(**backbone.build_inputs(rows)).last_hidden_state
    ours, mask = backbone.compute_states(rows, [adapter] * len(rows))
    assert differing(ours, theirs, mask) < 1e-4
    after = backbone.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(t, after[name]) for name, t in before.items())
    assert not any("lora" in name for name, _ in backbone.model.named_modules())


@pytest.mark.parametrize("family", TRAINABLE_FAMILIES)
def test_a_live_backbone_shares_the_frozen_weights_and_learns_only_the_adapter(
    backbone_of: BackboneOf, family: str
) -> None:
    backbone = backbone_of(family)
    live = TrainableBackbone(backbone, Lora(rank=2, layers="top-1").build_adapter_config(backbone, make_context()))
    assert live.trainable_parameters()
    assert all(".lora_" in name and ".1." in name for name in live.trainable_parameters())
    shared = {id(p) for p in backbone.model.parameters()}
    assert {id(p) for p in live.model.parameters()} - {id(p) for p in live.trainable_parameters().values()} == shared
    assert live.extract_adapter().first_layer == 1


def test_dropout_of_the_base_stays_off_and_loras_is_on_while_learning(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    live = TrainableBackbone(backbone, {"r": 2, "lora_alpha": 4, "lora_dropout": 0.5, "target_modules": ["query"]})
    torch.nn.init.normal_(next(p for n, p in live.trainable_parameters().items() if "lora_B" in n))
    live.forward(rows_of(backbone)[:1])
    on = {name for name, part in live.compute_model.named_modules() if part.training}
    assert on
    assert all("lora_dropout" in name for name in on)
    live.forward(rows_of(backbone)[:1], grad=False)
    assert not any(part.training for part in live.compute_model.modules())


def test_every_weight_learns_on_a_copy(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    live = TrainableBackbone(backbone, full_finetuning=True)
    assert len(live.trainable_parameters()) == len(list(backbone.model.parameters()))
    with torch.no_grad():
        for weight in live.trainable_parameters().values():
            weight.add_(1)
    assert not any(p.requires_grad for p in backbone.model.parameters())
    assert live.to_frozen_backbone().digest != backbone.digest
    assert (
        apart(alone(live.to_frozen_backbone(), None, rows_of(backbone)), alone(backbone, None, rows_of(backbone))) > 0.1
    )


def test_an_unknown_architecture_gets_every_linear_layer_and_says_so(backbone_of: BackboneOf) -> None:
    said: list[str] = []
    config = Lora(rank=2).build_adapter_config(
        backbone_of("roformer"), make_context(report=lambda event: said.append(str(event)))
    )
    assert config["target_modules"] == [
        "attention.output.dense",
        "attention.self.key",
        "attention.self.query",
        "attention.self.value",
        "intermediate.dense",
        "output.dense",
    ]
    assert "roformer is not in the table" in said[0]
    assert "attention.self.query" in said[0]
    Lora(rank=2).build_adapter_config(
        backbone_of("bert"), make_context(report=lambda event: pytest.fail("said something"))
    )


def test_an_architecture_without_stacked_layers_is_refused(backbone_of: BackboneOf) -> None:
    backbone = backbone_of("bert")
    with pytest.raises(BaseModelError, match="no list of 2 layers in Embedding"):
        adapters_targets(torch.nn.Embedding(2, 2))
    with pytest.raises(BaseModelError, match="hold no linear layers"):
        adapters_targets(torch.nn.Sequential(torch.nn.ModuleList([torch.nn.LayerNorm(2), torch.nn.LayerNorm(2)])))
    assert backbone.find_target_modules()[1]


def adapters_targets(model: torch.nn.Module) -> None:
    from loratory.backbones.forward.architectures import find_target_modules

    find_target_modules(model, "unheard-of", 2)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"targets": ["queri"]}, "'queri'; did you mean 'query'"),
        ({"targets": ["query", "nothing"]}, "'nothing'"),
        ({"targets": []}, "an empty list"),
        ({"layers": [2]}, r"layers \[2\] do not fit"),
        ({"layers": [-1, 0]}, "do not fit"),
    ],
)
def test_targets_and_layers_that_do_not_exist_are_refused(backbone_of: BackboneOf, options: Any, problem: str) -> None:
    with pytest.raises(SpecError, match=problem) as caught:
        Lora(**options).build_adapter_config(backbone_of("bert"), make_context())
    assert caught.value.allowed


@pytest.mark.parametrize(("layers", "chosen"), [("all", None), ("top-1", [1]), ("top-2", [0, 1]), ([1, 0, 1], [0, 1])])
def test_layers(backbone_of: BackboneOf, layers: Any, chosen: list[int] | None) -> None:
    assert (
        Lora(layers=layers).build_adapter_config(backbone_of("bert"), make_context()).get("layers_to_transform")
        == chosen
    )


# ---- short attention
@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "distilbert", "llama", "qwen2", "qwen3", "albert"])
def test_short_attention_is_sdpa_is_eager(base_path_of: BasePathOf, family: str) -> None:
    backbone = load_backbone_from(base_path_of(family))
    assert backbone.model.config._attn_implementation == "loratory_short"
    rows = rows_of(backbone)
    padded = backbone.build_inputs(rows)
    bare = {"input_ids": padded["input_ids"][1:2, :20]}
    for inputs in (padded, bare, {**bare, "attention_mask": torch.ones_like(bare["input_ids"])}):
        found = {name: states_and_gradient(backbone, name, inputs) for name in ("loratory_short", "sdpa", "eager")}
        for name in ("sdpa", "eager"):
            for ours, theirs in zip(found["loratory_short"], found[name], strict=True):
                assert differing(ours, theirs) < 1e-5, name


def states_and_gradient(backbone: EncoderBackbone, attention: str, inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Final states of real tokens, and the gradient of a loss on them by the embeddings."""
    backbone.model.set_attn_implementation(attention)
    weight = backbone.model.get_input_embeddings().weight.requires_grad_(True)
    states = backbone.model(**inputs).last_hidden_state
    mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))[..., None]
    (gradient,) = torch.autograd.grad((states * mask).square().mean(), weight)
    weight.requires_grad_(False)
    return (states * mask).detach(), gradient


class Layer(torch.nn.Module):
    """What an attention layer tells its attention function."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.is_causal = causal
        self.num_key_value_groups = 1


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("mask", ["none", "causal", "bool", "additive"])
@pytest.mark.parametrize("tokens", [7, SHORT_ROW_LIMITS.inference, SHORT_ROW_LIMITS.inference + 1])
def test_the_attention_function_is_the_fused_one(tokens: int, mask: str, scaling: float | None) -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, tokens, 8).unbind()
    kept = (torch.arange(tokens) < tokens - 3).expand(2, 1, tokens, tokens)
    given = {"bool": kept, "additive": torch.zeros(2, 1, tokens, tokens).masked_fill(~kept, -1e9)}.get(mask)
    ours, _ = short_attention(Layer(mask == "causal"), q, k, v, given, scaling=scaling)
    theirs = torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=given, is_causal=mask == "causal", scale=scaling
    )
    assert float((ours - theirs.transpose(1, 2)).abs().max()) < 1e-5


def test_dropout_of_attention_is_left_to_the_fused_one() -> None:
    q = torch.randn(1, 2, 5, 8)
    torch.manual_seed(1)
    one, _ = short_attention(Layer(False), q, q, q, None, dropout=0.5)
    torch.manual_seed(2)
    other, _ = short_attention(Layer(False), q, q, q, None, dropout=0.5)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("family", ["deberta-v2", "mpnet", "roformer"])
def test_architectures_that_never_call_registered_attention_keep_their_own(
    backbone_of: BackboneOf, family: str
) -> None:
    assert backbone_of(family).model.config._attn_implementation == "eager"


def test_only_what_calls_registered_attention_and_runs_sdpa_is_switched() -> None:
    class Model:
        config = SimpleNamespace(_attn_implementation="sdpa")
        _supports_attention_backend = False

        def set_attn_implementation(self, name: str) -> None:
            pytest.fail(f"switched to {name}")

    assert not use_short_attention(cast("transformers.PreTrainedModel", Model()))


@pytest.mark.parametrize("family", CAUSAL_FAMILIES)
def test_a_decoder_does_not_see_what_comes_later(backbone_of: BackboneOf, family: str) -> None:
    backbone = backbone_of(family)
    row = rows_of(backbone)[1][:12]
    short, long = backbone.compute_states([row[:6]], [None])[0][0], backbone.compute_states([row], [None])[0][0, :6]
    assert float((short - long).abs().max()) < 1e-5


# ---- one run, many backbones
def test_requests_of_several_backbones_come_back_in_order(backbone_of: BackboneOf) -> None:
    backbones = [backbone_of("bert"), backbone_of("llama")] * 3
    rows = [backbone.tokenizer.encode(text)[0] for backbone, text in zip(backbones, TEXTS, strict=True)]
    answers = run_locally(
        [EncodeRequest(Network(backbone), row) for backbone, row in zip(backbones, rows, strict=True)]
    )
    assert (
        apart(
            answers,
            [backbone.compute_states([row], [None])[0][0] for backbone, row in zip(backbones, rows, strict=True)],
        )
        < 1e-5
    )


def test_pooling_goes_over_real_tokens_only() -> None:
    states = torch.arange(24.0).view(2, 4, 3) - 20
    mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    assert torch.equal(pool_states(states, mask, "cls"), states[:, 0])
    assert torch.equal(pool_states(states, mask, "last"), torch.stack([states[0, 1], states[1, 3]]))
    assert torch.equal(pool_states(states, mask, "max"), torch.stack([states[0, 1], states[1, 3]]))
    assert torch.equal(pool_states(states, mask, "mean"), torch.stack([states[0, :2].mean(0), states[1].mean(0)]))


# ---- what is refused
@pytest.fixture
def folder(backbone_of: BackboneOf, tmp_path: Path) -> Path:
    """A good adapter folder, to be spoilt."""
    adapters.write_adapter(
        tmp_path / "adapter", make_random_adapter(backbone_of("bert")), {"task_type": "FEATURE_EXTRACTION"}
    )
    return tmp_path / "adapter"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("peft_type", "IA3"),
        ("peft_type", None),
        ("auto_mapping", {"base_model_class": "X", "parent_library": "os"}),
        ("megatron_config", {"x": 1}),
        ("target_modules", ".*"),
        ("target_modules", []),
        ("target_modules", ["query", "a|b"]),
        ("target_modules", [1]),
        ("exclude_modules", ".*"),
        ("layers_pattern", "(a+)+$"),
        ("layers_to_transform", "0"),
        ("layers_to_transform", [-1]),
        ("use_dora", True),
        ("init_lora_weights", "pissa"),
        ("init_lora_weights", "olora"),
        ("rank_pattern", {"query": 3}),
        ("alpha_pattern", {"query": 3}),
        ("bias", "all"),
        ("lora_bias", True),
        ("trainable_token_indices", [1]),
        ("layer_replication", [[0, 2]]),
        ("target_parameters", ["x"]),
        ("use_qalora", True),
        ("a_field_of_the_future", {"path": "x.py"}),
        ("r", 0),
        ("r", "8"),
        ("lora_alpha", -1),
    ],
)
def test_what_is_no_plain_lora_is_refused(folder: Path, key: str, value: Any) -> None:
    file = folder / "adapter_config.json"
    config = {**json.loads(file.read_text(encoding="utf-8")), key: value}
    file.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ArtifactError, match=key) as caught:
        adapters.read_adapter(folder)
    assert caught.value.allowed


def test_stock_pefts_own_defaults_are_taken(folder: Path, backbone_of: BackboneOf) -> None:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=2, target_modules=["query"], task_type="FEATURE_EXTRACTION")
    stock = get_peft_model(adapters.copy_with_shared_weights(backbone_of("bert").model), config)
    stock.save_pretrained(str(folder / "stock"))
    assert len(adapters.read_adapter(folder / "stock").tensors) == 4


def test_a_pickled_adapter_is_refused(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(ArtifactError, match="pickled adapters are never loaded"):
        adapters.read_adapter(folder)


@pytest.mark.parametrize("spoil", ["missing", "extra", "shape", "other base"])
def test_weights_that_do_not_fit_are_refused_and_the_neighbours_go_on(
    folder: Path, base_path_of: BasePathOf, backbone_of: BackboneOf, spoil: str
) -> None:
    good = make_random_adapter(backbone_of("bert"))
    tensors = load_file(folder / "adapter_model.safetensors")
    name = sorted(tensors)[0]
    if spoil == "missing":
        del tensors[name]
    elif spoil == "extra":
        tensors[name.replace("layer.0", "layer.7")] = tensors[name].clone()
    elif spoil == "shape":
        tensors[name] = tensors[name][:, :8].contiguous()
    save_file(tensors, folder / "adapter_model.safetensors")
    family = "roberta" if spoil == "other base" else "bert"
    if spoil == "other base":  # the same names, another depth
        tensors = {key.replace("layer.1", "layer.5"): t for key, t in tensors.items()}
        save_file(tensors, folder / "adapter_model.safetensors")
    bad = adapters.read_adapter(folder)
    for order in ([bad, good], [good, bad]):
        backbone = load_backbone_from(base_path_of(family))
        rows = rows_of(backbone)[:2]
        for _ in range(2):  # the second time is no other error
            with pytest.raises(ArtifactError, match="does not fit its base"):
                backbone.compute_states(rows, order)
            hosted = [
                layer for layer in backbone._multi_lora.adapted_model.modules() if isinstance(layer, MultiLoraLinear)
            ]
            assert not any(bad in layer.deltas for layer in hosted)
        expected = alone(backbone_of(family), good, rows)
        assert apart(alone(backbone, good, rows), expected) < 1e-5
    with pytest.raises(ArtifactError, match="does not fit its base"):
        adapters.merge_adapter(backbone_of(family).model, bad)


def test_an_adapter_is_named_by_what_it_computes(backbone_of: BackboneOf) -> None:
    one = make_random_adapter(backbone_of("bert"))
    assert adapters.create_adapter(one.config, one.tensors).digest == one.digest
    other = {**one.tensors, sorted(one.tensors)[0]: one.tensors[sorted(one.tensors)[0]] + 1}
    assert adapters.create_adapter(one.config, other).digest != one.digest
    assert adapters.create_adapter({**one.config, "lora_alpha": 3}, one.tensors).digest != one.digest


def test_a_digest_of_tensors_takes_every_shape_and_type() -> None:
    digests = [
        adapters.digest_of_tensors({"t": t})
        for t in (torch.tensor(1.0), torch.tensor([1.0]), torch.empty(0), torch.ones(2, dtype=torch.bfloat16))
    ]
    assert len(set(digests)) == 4


def on_embeddings(backbone: EncoderBackbone, seed: int) -> Adapter:
    """An adapter that PEFT has to host: it changes the table of words, too."""
    return make_random_adapter(backbone, seed=seed, target_modules=["query", "word_embeddings"])


def test_guests_that_nobody_has_any_more_leave_pefts_host(base_path_of: BasePathOf) -> None:
    backbone = load_backbone_from(base_path_of("bert"))
    rows = rows_of(backbone)[:3]
    kept = on_embeddings(backbone, 1)
    twin = adapters.create_adapter(
        kept.config, {name: t.clone() for name, t in kept.tensors.items()}
    )  # as loaded again
    assert (twin.digest, twin is kept) == (kept.digest, False)
    alone_before = alone(backbone, kept, rows)
    assert apart(alone_before, alone(backbone, None, rows)) > 0.1

    def there() -> set[str]:
        backbone.compute_states(rows[:1], [None])  # any pass looks
        model = backbone._multi_lora._peft_host._model
        weights = {} if model is None else dict(model.named_parameters())
        return {digest for digest in model.peft_config if any(digest in name for name in weights)} if weights else set()

    def passing(seed: int, beside: Adapter) -> str:
        other = on_embeddings(backbone, seed)
        mixed, _ = backbone.compute_states(rows, [beside, other, None])
        assert apart([mixed[0]], alone_before[:1]) < 1e-5
        assert there() == {beside.digest, other.digest}
        return other.digest

    for digest in [passing(seed, kept) for seed in range(2, 6)]:
        gc.collect()
        assert digest not in there()
    assert there() == {kept.digest}
    assert apart(alone(backbone, twin, rows), alone_before) == 0
    del kept
    gc.collect()
    assert there() == {twin.digest}  # the same adapter, of another owner
    assert apart(alone(backbone, twin, rows), alone_before) == 0
    del twin
    gc.collect()
    assert there() == set()
    again = on_embeddings(backbone, 1)
    assert apart(alone(backbone, again, rows), alone_before) < 1e-6
