"""A stranger's objective, named in a spec."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from faults import run_fixtures
from loratory.discovery import list_names, load_named
from loratory.protocols import Objective
from loratory.specs.training import LossSpec

pytestmark = pytest.mark.usefixtures("plugins")
SPEC = """\
name: tiny
data: {path: data.csv, near_duplicates: 1}
base: base
ladder:
  - head
  - poly: {regime: head, loss: poly1}
  - steep: {regime: head, loss: {objective: {poly1: {epsilon: 5}}, class_weights: balanced}}
head: {epochs: 3}
training: {threads: 1}
evidence: {resamples: 200, latency_texts: 5}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_fixtures.write_base(tmp_path / "tiny-bert")
    return run_fixtures.make_workspace(tmp_path / "w", tmp_path / "tiny-bert", SPEC)


def test_it_is_found_and_its_options_are_read() -> None:
    assert "poly1" in list_names("objectives")
    objective: Objective = load_named("objectives", "poly1")()
    assert LossSpec(objective="poly1").create_objective() == objective
    with pytest.raises(ValueError, match="did you mean 'poly1'"):
        LossSpec(objective="poly2")
    with pytest.raises(ValueError, match=r"poly1: epsilon: .* \(allowed: epsilon\)"):
        LossSpec(objective={"poly1": {"epsilon": 11}})


def test_a_regime_learns_by_it(folder: Path) -> None:
    done = run_fixtures.run_command(folder, "train", "spec.yaml", "--json")
    assert done.code == 0, done.err
    homes = [Path(row["folder"]) for row in json.loads(done.out)[1:]]
    weights = {(folder / home / "head.safetensors").read_bytes() for home in homes}
    assert len(weights) == 3
    fit = json.loads((folder / homes[2] / "fit.json").read_text(encoding="utf-8"))
    assert fit["options"]["loss"]["objective"] == {"poly1": {"epsilon": 5}}


def test_a_wrong_option_is_told_with_its_line(folder: Path) -> None:
    (folder / "spec.yaml").write_text(SPEC.replace("epsilon: 5", "epsilom: 5"), encoding="utf-8")
    done = run_fixtures.run_command(folder, "check", "spec.yaml")
    assert done.code == 2
    assert "spec.yaml:7: ladder: steep: loss" in done.err
    assert "allowed: epsilon" in done.err


def test_the_page_shows_this_very_file() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs/extending/objectives.md").read_text(encoding="utf-8")
    code = (root / "tests/plugins/example_plugins/poly1.py").read_text(encoding="utf-8")
    assert f"```python\n{code}```" in page
    lines = (root / "tests/plugins/pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line.startswith("poly1 = ")) in page
