"""AdamW for a token embedding whose gradient has only the rows that a batch reads.

A row that no batch reads still moves in dense AdamW: its weight decays and its old moments go on pushing it. Here those
missed updates are applied when the row is next read, all in one: the weight is right whenever the model reads it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from loratory.training.trainable_backbones import TrainableBackbone

MIN_LAZY_ROWS = 8_192  # a smaller embedding is updated whole: there is little to save
MAX_MISSED_STEPS = 4_096  # steps that are remembered before all rows are brought up to date
FLUSH_ROWS = 8_192  # rows that are brought up to date at a time, so that memory stays flat
STATE_PARTS = ("row_steps", "missed")  # of an embedding's state, beside AdamW's


def find_token_embeddings(
    backbone: TrainableBackbone, parameters: Mapping[str, nn.Parameter]
) -> dict[str, nn.Embedding]:
    """The token embedding by the name of its parameter, where it learns and only a lookup reads it.

    It is left out where the output layer shares its weight (tied embeddings): the gradient is dense there.
    """
    found = backbone.compute_model.get_input_embeddings()
    if type(found) is not nn.Embedding or found.max_norm is not None or found.scale_grad_by_freq:
        return {}
    weight = found.weight
    readers = [p for _, p in backbone.compute_model.named_parameters(remove_duplicate=False) if p is weight]
    outputs = list(backbone.lm_head.parameters()) if backbone.lm_head is not None else []
    if len(readers) != 1 or any(p is weight for p in outputs):
        return {}
    return {name: found for name, p in parameters.items() if p is weight and len(weight) >= MIN_LAZY_ROWS}


class LazyEmbedding:
    """The updates of one embedding [V, D]; its state lies with the optimizer's, so that checkpoints hold it.

    State: AdamW's `step`, `exp_avg` and `exp_avg_sq`; `row_steps`, int[V], the step (counted from the last flush) at
    which each row is right; and `missed`, float64[3, K + 1]: what a row that is right at step k of K has missed. Of
    each k it has the product of the decays, the sum of the updates where a moment is far below eps, and where it is far
    above. Between these two limits the sum is their Pade approximant: the limits are exact, and nearly all moments lie
    far above eps.
    """

    def __init__(self, module: nn.Embedding, optimizer: torch.optim.Optimizer) -> None:
        self.module, self.optimizer = module, optimizer
        weight = module.weight
        self.group = next(g for g in optimizer.param_groups if any(p is weight for p in g["params"]))
        module.sparse = True
        self._hook: RemovableHandle | None = module.register_forward_pre_hook(
            lambda _, given, named: self.catch_up(named["input"] if "input" in named else given[0]), with_kwargs=True
        )

    @property
    def state(self) -> dict[str, Any]:
        """The optimizer's state of this embedding, made where there is none."""
        weight = self.module.weight
        state: dict[str, Any] = self.optimizer.state[weight]
        if "exp_avg" not in state:
            state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(weight.detach())}
            state["exp_avg_sq"] = torch.zeros_like(weight.detach())
        if "missed" not in state:
            state["row_steps"], state["missed"] = torch.zeros(len(weight), dtype=torch.int32), _start_missed()
        return state

    @torch.no_grad()
    def catch_up(self, ids: Tensor) -> None:
        """Bring the rows of some tokens up to date: what dense AdamW had made of them by now."""
        if self._hook is not None and self.state["missed"].shape[1] > 1:
            self._catch_up_rows(ids.unique())  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def flush(self) -> None:
        """Bring all rows up to date, and forget the steps that were missed."""
        state = self.state
        if self._hook is None or state["missed"].shape[1] == 1:
            return
        count = len(self.module.weight)
        for start in range(0, count, FLUSH_ROWS):
            self._catch_up_rows(torch.arange(start, min(start + FLUSH_ROWS, count)))
        state["row_steps"].zero_()
        state["missed"] = _start_missed()

    @torch.no_grad()
    def step(self) -> None:
        """AdamW's step for the rows that have a gradient, which is taken away from the optimizer.

        A dense gradient is left to the optimizer: something else than the lookup reads the weight. From then on the
        embedding is updated whole.
        """
        if self._hook is None:
            return
        weight = self.module.weight
        if weight.grad is not None and not weight.grad.is_sparse:
            self.flush()
            self.close()
            for part in STATE_PARTS:
                self.state.pop(part)
            return
        gradient, weight.grad = weight.grad, None
        state = self.state
        if state["missed"].shape[1] > MAX_MISSED_STEPS:
            self.flush()
        state["step"] += 1
        self._remember_step()
        if gradient is not None:
            gradient = gradient.coalesce()
            self._update_rows(gradient.indices()[0], gradient.values())

    def close(self) -> None:
        """Leave the module as it was found."""
        if self._hook is not None:
            self._hook.remove()
        self._hook, self.module.sparse = None, False

    def _remember_step(self) -> None:
        """Add one step to what each earlier state of a row has missed: p = decay * p - rate * m / (sqrt(v) + eps)."""
        state, group = self.state, self.group
        (beta1, beta2), step = group["betas"], float(state["step"])
        missed: Tensor = state["missed"]
        ages = torch.arange(missed.shape[1], 0, -1, dtype=torch.float64)
        rate = group["lr"] / (1 - beta1**step)
        pushes = torch.stack((torch.zeros_like(ages), rate * beta1**ages, rate * (beta1 / beta2**0.5) ** ages))
        pushes[2] *= (1 - beta2**step) ** 0.5
        decay = 1 - group["lr"] * group["weight_decay"]
        state["missed"] = torch.cat((missed * decay + pushes, _start_missed()), dim=1)

    def _update_rows(self, rows: Tensor, gradient: Tensor) -> None:
        state, group = self.state, self.group
        (beta1, beta2), step = group["betas"], float(state["step"])
        weight = self.module.weight
        mean = state["exp_avg"][rows].lerp_(gradient, 1 - beta1)
        square = state["exp_avg_sq"][rows].mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        under = square.sqrt().div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        new = weight[rows].mul_(1 - group["lr"] * group["weight_decay"])
        new.addcdiv_(mean, under, value=-group["lr"] / (1 - beta1**step))
        self._write_rows(rows, new, mean, square)

    def _catch_up_rows(self, rows: Tensor) -> None:
        state, weight = self.state, self.module.weight
        now = state["missed"].shape[1] - 1
        rows = rows[state["row_steps"][rows] < now]
        if not len(rows):
            return
        since = state["row_steps"][rows].long()
        decay, small, large = (column[:, None].float() for column in state["missed"][:, since])
        mean, square = state["exp_avg"][rows], state["exp_avg_sq"][rows]
        under = square.sqrt().mul_(small / large.clamp_min(torch.finfo(torch.float32).tiny)).add_(self.group["eps"])
        new = weight[rows].mul_(decay).sub_(mean * small / under)
        ages = (now - since)[:, None].double()
        beta1, beta2 = self.group["betas"]
        self._write_rows(rows, new, mean.mul_((beta1**ages).float()), square.mul_((beta2**ages).float()))

    def _write_rows(self, rows: Tensor, weight: Tensor, mean: Tensor, square: Tensor) -> None:
        state = self.state
        self.module.weight.index_copy_(0, rows, weight)
        state["exp_avg"].index_copy_(0, rows, mean)
        state["exp_avg_sq"].index_copy_(0, rows, square)
        state["row_steps"][rows] = state["missed"].shape[1] - 1


def _start_missed() -> Tensor:
    """Of a row that is right now: no decay, no updates."""
    return torch.tensor([[1.0], [0.0], [0.0]], dtype=torch.float64)


def make_lazy_embeddings(
    modules: Mapping[str, nn.Embedding], optimizer: torch.optim.Optimizer, allowed: bool
) -> list[LazyEmbedding]:
    """One for each module, on a CPU; on other devices the whole update costs less than to look the rows up."""
    some = [m for m in modules.values() if m.weight.device.type == "cpu" and isinstance(optimizer, torch.optim.AdamW)]
    return [LazyEmbedding(module, optimizer) for module in some] if allowed else []


@torch.no_grad()
def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float) -> None:
    """`nn.utils.clip_grad_norm_`, for gradients of which some may be sparse."""
    learnt = [p for p in parameters if p.grad is not None]
    if not any(_is_sparse(p) for p in learnt):
        nn.utils.clip_grad_norm_(learnt, max_norm)
        return
    values = _collect_values(learnt)
    factor = float(max_norm / (nn.utils.get_total_norm(values) + 1e-6))
    if factor < 1:
        for value in values:
            value.mul_(factor)


def _is_sparse(parameter: nn.Parameter) -> bool:
    return parameter.grad is not None and parameter.grad.is_sparse


def _collect_values(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The numbers of each gradient; what is sparse is summed by row, in place."""
    values = []
    for parameter in parameters:
        assert parameter.grad is not None
        if parameter.grad.is_sparse:
            parameter.grad = parameter.grad.coalesce()
        values.append(parameter.grad.values() if parameter.grad.is_sparse else parameter.grad)
    return values
