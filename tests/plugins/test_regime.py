"""A stranger's regime that starts from another contender, from the spec to an answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from faults import run_fixtures
from loratory.discovery import list_names, load_named
from loratory.protocols import Labelled, Regime
from loratory.tasks.classify import Classify
from loratory.tasks.generate import Generate

pytestmark = pytest.mark.usefixtures("plugins")
SPEC = """\
name: tiny
data: {path: data.csv, near_duplicates: 1}
ladder:
  - student: {regime: distil, start: tfidf}
  - rules
  - tfidf
evidence: {resamples: 200, latency_texts: 5}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data.csv").write_text(run_fixtures.to_csv(run_fixtures.make_rows()), encoding="utf-8")
    (tmp_path / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return tmp_path


def run(folder: Path, *changes: str) -> tuple[dict[str, Any], str]:
    """The contenders of the ladder by name, and what was said."""
    done = run_fixtures.run_command(
        folder, "run", "spec.yaml", *(word for change in changes for word in ("--set", change))
    )
    assert done.code == 0, done.err
    ladder = json.loads((folder / "runs/tiny/ladder.json").read_text(encoding="utf-8"))
    return {row["name"]: row for row in ladder["contenders"]}, done.out + done.err


def read_identity(folder: Path, name: str) -> str:
    return str(json.loads((folder / f"runs/tiny/contenders/{name}/seed-1/manifest.json").read_text())["identity"])


def test_it_meets_the_protocol() -> None:
    assert "distil" in list_names("regimes")
    regime: Regime[Labelled] = load_named("regimes", "distil")()
    assert regime.check_support(Classify(), "contender:tfidf") is None
    assert "not from encoder" in str(regime.check_support(Classify(), "encoder"))
    assert "generate" in str(regime.check_support(Generate(), "contender:decoder"))


def test_run_resume_change_and_predict(folder: Path) -> None:
    rows, said = run(folder)
    assert list(rows) == ["majority", "student", "rules", "tfidf"]  # as the spec lists them, fitted in another order
    assert rows["student"]["status"] == "fitted"
    assert rows["student"]["start"] == "tfidf"
    assert rows["student"]["start_seconds"] == rows["tfidf"]["train_seconds"]
    assert "start" not in rows["tfidf"]
    assert rows["student"]["facts"]["taught"] > 50
    assert "start: tfidf" in (folder / "runs/tiny/spec.lock.yaml").read_text(encoding="utf-8")
    assert "student starts from tfidf" in said
    page = (folder / "runs/tiny/report.html").read_text(encoding="utf-8")
    assert "<strong>student</strong> starts from tfidf:" in page
    fit = json.loads((folder / "runs/tiny/contenders/student/seed-1/fit.json").read_text(encoding="utf-8"))
    assert fit["start"] == {"contender": "tfidf", "seed": 1, "identity": read_identity(folder, "tfidf")}

    before = {name: read_identity(folder, name) for name in rows}
    weights = run_fixtures.read_weights(folder / "runs")
    run(folder)
    assert run_fixtures.read_weights(folder / "runs") == weights
    run(folder, "tfidf.c=1.0")
    after = {name: read_identity(folder, name) for name in rows}
    assert {name for name in rows if before[name] != after[name]} == {"tfidf", "student"}

    answered = run_fixtures.run_command(
        folder, "predict", "runs/tiny", "--contender", "student", "my card was stolen today"
    )
    assert answered.code == 0, answered.err
    assert json.loads(answered.out.splitlines()[0]) == {"label": "FRAUD"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("start: tfidf", "start: tfdif", "did you mean 'tfidf'"),
        ("start: tfidf", "base: minilm", "distil starts from contender, so it takes no base"),
        (", start: tfidf", "", "distil starts from another contender"),
    ],
)
def test_a_start_that_cannot_be_is_told_with_its_line(folder: Path, old: str, new: str, said: str) -> None:
    (folder / "spec.yaml").write_text(SPEC.replace(old, new), encoding="utf-8")
    done = run_fixtures.run_command(folder, "check", "spec.yaml")
    assert done.code == 2
    assert said in done.err
    assert "spec.yaml:4" in done.err


def test_a_start_that_fails_is_told_and_the_rest_goes_on(folder: Path) -> None:
    text = SPEC.replace("start: tfidf", "start: sure").replace(
        "  - rules\n", "  - sure: {regime: distil, start: rules, confidence: 1.0}\n  - rules\n"
    )
    (folder / "spec.yaml").write_text(text, encoding="utf-8")
    rows, _ = run(folder)
    assert rows["sure"]["status"] == rows["student"]["status"] == "failed"
    assert "sure of no text" in rows["sure"]["failure"]
    assert "its start sure failed" in rows["student"]["failure"]
    assert rows["tfidf"]["status"] == rows["rules"]["status"] == "fitted"


def test_train_fits_the_start_too(folder: Path) -> None:
    done = run_fixtures.run_command(folder, "train", "spec.yaml", "--contender", "student", "--json")
    assert done.code == 0, done.err
    assert [row["contender"] for row in json.loads(done.out)] == ["student"]
    assert (folder / "runs/tiny/contenders/tfidf/seed-1/manifest.json").is_file()
    assert not (folder / "runs/tiny/contenders/rules").exists()


def test_the_page_shows_this_very_file() -> None:
    root = Path(__file__).parents[2]
    page = (root / "docs/extending/regimes.md").read_text(encoding="utf-8")
    code = (root / "tests/plugins/example_plugins/distil.py").read_text(encoding="utf-8")
    assert f"```python\n{code}```" in page
    lines = (root / "tests/plugins/pyproject.toml").read_text(encoding="utf-8").splitlines()
    assert next(line for line in lines if line.startswith("distil = ")) in page
