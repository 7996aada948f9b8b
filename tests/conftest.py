"""Fixtures that all tests share: pinned threads, and tiny models that are built once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.loading import base_locations
from loratory.data.splitting import ledger
from tiny_models import BackboneOf, BasePathOf, load_backbone_from, save_base

pytest_plugins = ["browser_fixtures", "fault_recording"]
torch.set_num_threads(1)  # tiny products: more threads only wait for each other


@pytest.fixture(scope="session", autouse=True)
def session_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is read, and where bases lie, is noted apart: the user's own notes are never touched."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv(ledger.LEDGER_VARIABLE, str(tmp_path_factory.mktemp("ledger") / ledger.LEDGER_FILE))
        patched.setenv(base_locations.ENVIRONMENT_VARIABLE, str(tmp_path_factory.mktemp("bases")))
        yield


@pytest.fixture(autouse=True)
def fresh_ledger(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test begins with an empty ledger; returns its file, which is not there yet."""
    file = tmp_path_factory.mktemp("ledger") / ledger.LEDGER_FILE
    monkeypatch.setenv(ledger.LEDGER_VARIABLE, str(file))
    return file


@pytest.fixture(scope="session")
def base_path_of(tmp_path_factory: pytest.TempPathFactory) -> BasePathOf:
    """The folder of a family's tiny base, made when it is first asked for."""
    home = tmp_path_factory.mktemp("bases")

    def find_or_save_base(family: str) -> Path:
        folder = home / family
        return folder if folder.is_dir() else save_base(folder, family)

    return find_or_save_base


@pytest.fixture(scope="session")
def backbone_of(base_path_of: BasePathOf) -> BackboneOf:
    """The shared backbone of a family; a test that would change it is wrong."""
    known: dict[str, EncoderBackbone] = {}

    def load_once(family: str) -> EncoderBackbone:
        if family not in known:
            known[family] = load_backbone_from(base_path_of(family))
        return known[family]

    return load_once
