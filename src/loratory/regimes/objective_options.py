"""How regimes refuse a loss that is not of what they predict."""

from __future__ import annotations

from loratory.protocols.objectives import Objective, OutputKind
from loratory.specs.training import LossSpec


def check_objective(name: str, loss: LossSpec, outputs: OutputKind) -> str | None:
    """Why the loss of a regime cannot be taken of such outputs, or None."""
    objective: Objective = loss.create_objective()
    if outputs in objective.outputs:
        return None
    listed = " or ".join(objective.outputs)
    return f"{name} predicts {outputs} here, and its loss {loss.objective} is of {listed}"
