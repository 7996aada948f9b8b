"""A supervised contrastive warm-up: texts of one label draw near, those of the labels most like it apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from loratory.specs.training import ContrastiveSpec
from loratory.training.seeds import make_generator


def contrastive_loss(pooled: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Supervised contrastive loss float[B] of pooled float[B, D] (Khosla et al. 2020, eq. 2, the mean outside the log).

    An example without another of its label in the batch has nothing to be near to: its loss is 0.
    """
    directions = normalize(pooled.float(), dim=-1)
    alone = torch.eye(len(targets), dtype=torch.bool, device=pooled.device)
    near = (directions @ directions.T / temperature).masked_fill(alone, -torch.inf)
    odds = near.log_softmax(-1).masked_fill(alone, 0.0)
    same = (targets[:, None] == targets[None, :]) & ~alone
    return -(odds * same).sum(-1) / same.sum(-1).clamp_min(1)


def sample_hard_negative_steps(
    targets: Tensor, means: Tensor, spec: ContrastiveSpec, seed: int, epoch: int
) -> list[list[int]]:
    """Steps of `examples` indices of a label and of the `labels` - 1 labels whose means float[L, D] are most like its.

    So many steps that an epoch sees about as many examples as there are; rare labels come as often as others.
    """
    chance = make_generator(seed, "contrastive", epoch)
    members = {label: (targets == label).nonzero().flatten() for label in set(targets.tolist())}
    names = torch.tensor(sorted(members))
    directions = normalize(means[names], dim=-1)
    near = (directions @ directions.T).argsort(-1, descending=True)[:, : spec.labels]  # itself comes first
    queues: dict[int, list[int]] = {label: [] for label in members}
    steps = []
    for _ in range(max(1, round(len(targets) / (near.shape[1] * spec.examples)))):
        anchor = int(torch.randint(len(names), (1,), generator=chance))
        step: list[int] = []
        for label in names[near[anchor]].tolist():
            queue = queues[label]
            while len(queue) < min(spec.examples, len(members[label])):
                queue += members[label][torch.randperm(len(members[label]), generator=chance)].tolist()
            step += dict.fromkeys(queue[: spec.examples])
            del queue[: spec.examples]
        steps.append(step)
    return steps
