"""`loratory report`: the evidence of a finished run, weighed again from its rows."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from loratory.discovery import find, names
from loratory.errors import ArtifactError
from loratory.flows import fitting, run
from loratory.flows.listening import Listener
from loratory.flows.opening import read_ladder
from loratory.flows.preparing import reread
from loratory.models.activations import Remembered
from loratory.models.execution import run_here
from loratory.models.trunks import Pool
from loratory.specs.frame import Parser, load_yaml, parse


def rebuild(folder: Path, listen: Listener) -> Path:
    """Write ladder.json, verdict.json and report.html of a run again; returns the page. Raises ArtifactError."""
    ladder = read_ladder(folder)
    file = folder / "spec.lock.yaml"
    values, lines = load_yaml(file)
    spec = parse(
        values, Parser(str(file), lines, partial(find, "tasks"), partial(find, "regimes"), names("regimes")), folder
    )
    split = reread(spec, folder / "data")
    bench = fitting.Bench(spec, split, folder / "contenders", Pool(), Remembered(run_here), listen, lambda: False)
    fitted, failures = {}, {}
    rows = {row["name"]: row for row in ladder["contenders"]}
    for contender in spec.ladder:
        row = rows.get(contender.name)
        if row is None:
            raise ArtifactError(
                f"the run has no contender {contender.name!r}", where=str(folder), remedy="loratory run finishes it"
            )
        if row["status"] == "failed":
            failures[contender.name] = row["failure"]
            continue
        folders = {seed: bench.folder / contender.name / f"seed-{seed}" for seed in row["seeds"]}
        fitted[contender.name] = fitting.Fitted(contender, folders, row["shipped_seed"], row["trials"])
    run.conclude(bench, run.Place(folder, Path.cwd()), fitted, failures)
    return folder / "report.html"
