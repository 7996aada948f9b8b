"""What a backbone may be given that computes some networks in its place: see `int8.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from loratory.protocols import Network

if TYPE_CHECKING:
    from torch import Tensor


class ComputeBackend(Protocol):
    """Computes the final states of networks that it has taken over, a row at a time, in threads of its own."""

    def serves(self, network: Network) -> bool:
        """Whether it computes this network."""

    def compute_states(self, network: Network, inputs: Mapping[str, Tensor]) -> Tensor:
        """Of one row's inputs int64[1, T]: final states float[1, T, D], of an nli base logits float[1, L]."""

    def run_rows(self, rows: Sequence[int], lengths: Sequence[int], work: Callable[[Sequence[int]], None]) -> None:
        """Do the work for all rows, side by side where there are threads; `lengths` are tokens, by row.

        Raises what the work raises.
        """
