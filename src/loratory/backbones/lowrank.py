"""A frozen linear layer and its LoRA update as one autograd function: fewer passes over memory, less to remember.

PEFT's layer saves the input twice and five intermediate results; this one saves the input and x A' and nothing else.
It also computes no gradient for the input where nothing below learns.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class LowRankContext(Protocol):
    """What torch hands from the forward pass to the backward one, with what is noted there beside tensors."""

    scale: float
    shape: torch.Size  # of x
    kinds: tuple[torch.dtype, torch.dtype, torch.dtype]  # of x, A and B

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]: ...
    @property
    def needs_input_grad(self) -> tuple[bool, ...]: ...
    def save_for_backward(self, *tensors: Tensor) -> None:
        """Keep tensors for the backward pass."""


class LowRankFunction(torch.autograd.Function):
    """y = x W' + b + scale (x A') B', with W and b frozen (Hu et al. 2021, eq. 3), computed in W's precision.

    x float[..., I], W [O, I], b [O] or None, A [R, I], B [O, R] -> y [..., O]. Gradients of A and B come in their
    own precision, which may be higher than W's.
    """

    @staticmethod
    def forward(
        ctx: LowRankContext, x: Tensor, weight: Tensor, bias: Tensor | None, a: Tensor, b: Tensor, scale: float
    ) -> Tensor:
        """Keeps x and x A' alone for the backward pass."""
        flat = x.reshape(-1, x.shape[-1]).to(weight.dtype)
        down, up = a.to(weight.dtype), b.to(weight.dtype)
        low = flat @ down.T
        out = flat @ weight.T if bias is None else torch.addmm(bias, flat, weight.T)
        out.addmm_(low, up.T, alpha=scale)
        ctx.save_for_backward(flat, low, weight, down, up)
        ctx.scale, ctx.shape, ctx.kinds = scale, x.shape, (x.dtype, a.dtype, b.dtype)
        return out.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: LowRankContext, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Of x, A and B: dA = scale (dy B)' x, dB = scale dy' (x A'), dx = dy W + scale dy B A."""
        flat, low, weight, down, up = ctx.saved_tensors
        of_x, of_a, of_b = ctx.kinds
        dy = gradients[0].reshape(-1, weight.shape[0]).to(weight.dtype)
        dlow = (dy @ up).mul_(ctx.scale)
        da = (dlow.T @ flat).to(of_a)
        db = (dy.T @ low).to(of_b).mul_(ctx.scale)
        dx = None
        if ctx.needs_input_grad[0]:
            dx = (dy @ weight).addmm_(dlow, down).view(ctx.shape).to(of_x)
        return dx, None, None, da, db, None


class LowRankLinear(nn.Module):
    """Stands where PEFT's layer stood. It learns the very parameters of that layer; the frozen weight is its own."""

    def __init__(self, weight: Tensor, bias: Tensor | None, a: nn.Parameter, b: nn.Parameter, scale: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.a, self.b, self.scale = a, b, scale

    def forward(self, x: Tensor) -> Tensor:
        """From x float[..., I] to float[..., O]."""
        return LowRankFunction.apply(x, self.weight, self.bias, self.a, self.b, self.scale)  # type: ignore[no-any-return,no-untyped-call]
