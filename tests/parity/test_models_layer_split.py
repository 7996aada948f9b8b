"""A backbone that is entered between two layers gives what a whole pass gives; one that cannot be is left as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from loratory.backbones import adapters
from loratory.backbones.forward.architectures import find_layers
from loratory.backbones.forward.layer_split import LayerHook, create_layer_split
from loratory.protocols import EncodeRequest, Network
from tiny_models import BackboneOf, BasePathOf, load_backbone_from, make_random_adapter

FAMILIES = ("bert", "roberta", "modernbert", "distilbert", "llama", "qwen3")


def copy_of(backbone: Any) -> Any:
    return adapters.copy_with_shared_weights(backbone.model)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_states_that_were_captured_lead_to_the_states_of_a_whole_pass(family: str, backbone_of: BackboneOf) -> None:
    backbone: Any = backbone_of(family)
    inputs = backbone.build_inputs([(5, 6, 7, 8), (9, 10)])
    model = copy_of(backbone)
    split = create_layer_split(model, backbone.depth, inputs)
    assert split is not None
    whole = backbone.model(**inputs).last_hidden_state
    captured = split.capture_layer_inputs(frozenset({1, backbone.depth}), inputs)
    real = inputs["attention_mask"].bool()
    assert torch.allclose(captured[backbone.depth][real], whole[real], atol=1e-5)
    found = split.run_from_layer(1, captured[1], inputs).last_hidden_state
    assert torch.allclose(found[real], whole[real], atol=1e-5)
    other = split.run_from_layer(1, captured[1].flip(-1), inputs).last_hidden_state
    assert not torch.allclose(other[real], whole[real], atol=1e-2)  # the states that are given are what is used


@torch.no_grad()
def test_a_model_that_cannot_be_entered_is_left_as_it_was(
    backbone_of: BackboneOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone: Any = backbone_of("bert")
    inputs = backbone.build_inputs([(5, 6, 7), (9, 10)])
    model = copy_of(backbone)
    _, layers = find_layers(model, backbone.depth)
    before = list(layers)
    monkeypatch.setattr(LayerHook, "forward", lambda hook, states, *args, **options: hook.layer(states + 1, *args))
    assert create_layer_split(model, backbone.depth, inputs) is None
    assert list(layers) == before


def test_rows_of_one_text_share_the_layers_below_their_adapters(base_path_of: BasePathOf) -> None:
    backbone = load_backbone_from(base_path_of("bert"))
    adapter = make_random_adapter(backbone, layers_to_transform=[1], layers_pattern="layer")
    assert adapter.first_layer == 1
    networks = [Network(backbone), Network(backbone, adapter)]
    counts: list[int] = []
    layer: Any = find_layers(backbone._multi_lora.adapted_model, backbone.depth)[1][0]
    requests = [EncodeRequest(network, (5, 6, 7)) for network in networks]
    alone = [backbone.encode([request])[0] for request in requests]
    backbone.encode(requests)  # what is shared is tried once
    hook = layer.register_forward_hook(lambda part, args, out: counts.append(len(args[0])))
    try:
        together = backbone.encode(requests)
    finally:
        hook.remove()
    assert counts == [1]
    assert all(torch.allclose(found, one, atol=1e-5) for found, one in zip(together, alone, strict=True))
