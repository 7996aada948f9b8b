"""`loratory report`: the evidence of a finished run, weighed again from its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loratory.artifacts.locks import held
from loratory.artifacts.manifests import open_artifact
from loratory.errors import ArtifactError
from loratory.flows.bench import Bench, Fitted
from loratory.flows.listening import Listener
from loratory.flows.opening import read_ladder, unsealed_ladder
from loratory.flows.preparing import reread
from loratory.flows.run import Place, conclude
from loratory.flows.specs import parser_of
from loratory.models.activations import Remembered
from loratory.models.execution import run_here
from loratory.models.trunks import Pool
from loratory.specs.frame import Contender, parse
from loratory.specs.reading import load_yaml


def rebuild(folder: Path, listen: Listener) -> Path:
    """Write ladder.json, verdict.json and report.html of a run again; returns the page. Raises ArtifactError."""
    with held(folder, 0):
        return _rebuild(folder, listen)


def _rebuild(folder: Path, listen: Listener) -> Path:
    ladder = _ladder(folder, listen)
    file = folder / "spec.lock.yaml"
    values, lines = load_yaml(file)
    spec = parse(values, parser_of(file, lines), folder)
    split = reread(spec, open_artifact(folder / "data"))
    bench = Bench(
        spec, split, folder / "contenders", Pool(), Remembered(run_here), listen, lambda: False, spec.training
    )
    fitted, failures = {}, {}
    rows = {row["name"]: row for row in ladder["contenders"]}
    for contender in spec.ladder:
        row = _row(rows, contender, folder)
        if row["status"] == "failed":
            failures[contender.name] = row["failure"]
        else:
            folders = {seed: bench.folder / contender.name / f"seed-{seed}" for seed in row["seeds"]}
            fitted[contender.name] = Fitted(contender, folders, row["shipped_seed"], row["trials"])
    conclude(bench, Place(folder), fitted, failures)
    return folder / "report.html"


def _ladder(folder: Path, listen: Listener) -> dict[str, Any]:
    """Which fits there are; where the run's manifest does not vouch for it, that is said."""
    try:
        return read_ladder(folder)
    except ArtifactError as problem:
        ladder = unsealed_ladder(folder)
        listen("said", {"text": f"{problem.problem}; the evidence is made again from the fits' own rows"})
        return ladder


def _row(rows: dict[str, Any], contender: Contender, folder: Path) -> Any:
    if contender.name not in rows:
        raise ArtifactError(
            f"the run has no contender {contender.name!r}", where=str(folder), remedy="loratory run finishes it"
        )
    return rows[contender.name]
