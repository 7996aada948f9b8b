"""The weights that training begins from: random, but for a few heads that already copy.

A model of this size spends most of a small budget before it finds induction (Olsson et al. 2022): to look for where the
last token stood before, and to repeat what followed it. So some heads of the first layer begin by looking one place
back, some of the second by looking for their own token behind such a place, and by repeating what stands there. All of
it is free to change.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

HEADS = 3  # of the first two layers
LOOK, MATCH = 6.5, 5.0  # how strongly one place back, and the same token, are looked for
TELL, SAY = 0.06, 0.6  # how loudly what stood before is told to the second layer, and the copy to the output
QUIET = 0.03  # what the other heads and layers begin with, of transformers' own beginning
SCALE = 8.0  # of all that layers read and write: the heads' weights are large beside a step of the optimizer


@torch.no_grad()
def begin(model: Any, seed: int) -> None:
    """Set the heads of a Llama with attention_bias; its other weights stay as they are."""
    config = model.config
    size, width = config.hidden_size // config.num_attention_heads, config.hidden_size
    chance = torch.Generator().manual_seed(seed)
    first, second = (layer.self_attn for layer in model.model.layers[:2])
    slow = _slow(size)
    model.model.embed_tokens.weight.mul_(SCALE)
    model.model.norm.weight.fill_(1 / SCALE)
    for layer in model.model.layers:  # what a layer adds is small, or it would drown what the copying heads say
        layer.self_attn.o_proj.weight.mul_(SCALE * QUIET)
        layer.mlp.down_proj.weight.mul_(SCALE * QUIET)
    for head in range(HEADS):
        rows = slice(head * size, (head + 1) * size)
        _look_back(first, rows, size, float(config.rope_parameters["rope_theta"]))
        asked = torch.zeros(size, width)  # what is compared: it has to survive the rotation by the distance
        asked[slow] = torch.randn(len(slow), width, generator=chance) / math.sqrt(width)
        told = torch.linalg.qr(torch.randn(width, size, generator=chance))[0]
        first.v_proj.weight[rows] = asked
        first.o_proj.weight[:, rows] = SCALE * TELL * told
        second.q_proj.weight[rows] = asked
        second.k_proj.weight[rows] = MATCH * told.T
        copied = torch.randn(size, width, generator=chance) / math.sqrt(width)
        second.v_proj.weight[rows] = copied
        second.o_proj.weight[:, rows] = SCALE * SAY * copied.T


def _slow(size: int) -> list[int]:
    """Dimensions of a head that rotary embeddings turn slowly: the later half of each half."""
    half = size // 2
    return [*range(half // 2, half), *range(half + half // 2, size)]


def _look_back(attention: Any, rows: slice, size: int, theta: float) -> None:
    """Biases whose product is largest one place back (Su et al. 2021, eq. 16): keys are constant, queries turned."""
    half = size // 2
    angles: Tensor = theta ** (-torch.arange(half) / half)
    attention.q_proj.weight[rows] = 0.0
    attention.k_proj.weight[rows] = 0.0
    attention.k_proj.bias[rows] = torch.cat([torch.full((half,), LOOK), torch.zeros(half)])
    attention.q_proj.bias[rows] = LOOK * torch.cat([torch.cos(angles), -torch.sin(angles)])
