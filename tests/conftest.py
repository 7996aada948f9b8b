"""Fixtures that all tests share: pinned threads, and tiny models that are built once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from loratory.models.trunks import TorchTrunk
from tiny import Bases, Trunks, save_base, trunk_in

torch.set_num_threads(1)  # tiny products: more threads only wait for each other


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Bases:
    """The folder of a family's tiny base, made when it is first asked for."""
    home = tmp_path_factory.mktemp("bases")

    def made(family: str) -> Path:
        folder = home / family
        return folder if folder.is_dir() else save_base(folder, family)

    return made


@pytest.fixture(scope="session")
def trunk_of(base_of: Bases) -> Trunks:
    """The shared trunk of a family; a test that would change it is wrong."""
    known: dict[str, TorchTrunk] = {}

    def loaded(family: str) -> TorchTrunk:
        if family not in known:
            known[family] = trunk_in(base_of(family))
        return known[family]

    return loaded
