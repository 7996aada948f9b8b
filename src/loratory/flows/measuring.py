"""Answer the locked test set, once."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loratory.artifacts.files import to_json
from loratory.artifacts.manifests import digest_of, extending, file_digest, open_artifact, read_manifest
from loratory.data.store import digest
from loratory.errors import ArtifactError
from loratory.evaluation.measured import Fit, Measured
from loratory.evaluation.rows import write_rows
from loratory.export import layouts
from loratory.flows.bench import Bench, Fitted, listed_rows, outcome_rows
from loratory.flows.opening import METRICS
from loratory.flows.operating import weighed
from loratory.models.execution import run_here
from loratory.predictors import store
from loratory.protocols import Example, Input, Outcome, Predictor, Size, Writer, answer

MARKS = "marks.parquet"
BESIDE = ("json_valid", "json_valid_unheld", "unheld_texts", "operating")


def measured_already(bench: Bench, fitted: Fitted) -> bool:
    """Whether every fit of a contender has answered this test set."""
    return all(_is_measured(bench, folder) for folder in fitted.folders.values())


def _is_measured(bench: Bench, folder: Path) -> bool:
    manifest = read_manifest(folder)
    if not manifest or METRICS not in manifest["files"]:
        return False
    metrics = open_artifact(folder).json(METRICS)
    same = metrics["test"] == digest(bench.split.parts.test)
    return bool(same and metrics.get("outside", {}) == _outside(bench))


def _outside(bench: Bench) -> dict[str, str]:
    """Digests of the files of texts out of scope that an operating point is weighed on."""
    operating = bench.spec.operating
    files = operating.abstain.test if operating and operating.abstain else {}
    return {name: file_digest(bench.spec.folder / Path(file).expanduser()) for name, file in files.items()}


def looks(fitted: Fitted) -> list[str]:
    """A name for what measuring a contender looks at: its fits, each by all that decided it."""
    return [digest_of((read_manifest(folder) or {}).get("identity"))[:16] for folder in fitted.folders.values()]


def measure(bench: Bench, fitted: Fitted) -> None:
    """Test rows and scores beside each fit; the layouts of stock libraries beside the one that ships."""
    for folder in fitted.folders.values():
        if not _is_measured(bench, folder):
            _measure_fit(bench, folder)
    ship = fitted.folders[fitted.shipped]
    if "README.md" not in (read_manifest(ship) or {"files": {}})["files"]:
        _lay_out(bench, fitted, ship)


def _measure_fit(bench: Bench, folder: Path) -> None:
    predictor = store.read(folder, bench.pool)
    examples = bench.split.parts.test
    started = time.monotonic()
    outcome = answer(predictor, examples, run_here)
    seconds = time.monotonic() - started
    scores = dict(bench.split.task.summarise(outcome.totals()))
    facts = {
        "test": digest(examples),
        "n": len(examples),
        "accuracy": scores.get("accuracy"),
        "recall": {name.partition("/")[2]: value for name, value in scores.items() if name.startswith("recall/")},
        "scores": scores,
        "texts_per_second": len(examples) / max(seconds, 1e-9),
        "outside": _outside(bench),
        **json_facts(predictor, examples[: bench.spec.evidence.unheld_texts], outcome),
        **weighed(bench, predictor, outcome),
    }
    with extending(folder) as part:
        write_rows(part / MARKS, outcome)
        (part / METRICS).write_text(to_json(facts), encoding="utf-8")


def json_facts(predictor: Predictor, examples: Sequence[Example], outcome: Outcome) -> dict[str, Any]:
    """Of a predictor that writes: how much of what it writes is JSON of the contract, held to it and not.

    A text counts as valid where it is one JSON value, and nothing else, that the contract's schema allows.
    """
    task = predictor.task
    if not isinstance(predictor, Writer) or task.contract().get("type") == "string":
        return {}
    import jsonschema

    def valid(input: Input, answer: Any) -> bool:
        return bool(jsonschema.Draft202012Validator(task.contract(input)).is_valid(answer))

    def read(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return ...

    held = [valid(e.input, p.answer) for e, p in zip(outcome.examples, outcome.predictions, strict=True)]
    texts = predictor.freely([example.input for example in examples], run_here)
    answers = [read(text) for text in texts]
    free = [answer is not ... and valid(e.input, answer) for e, answer in zip(examples, answers, strict=True)]
    return {
        "json_valid": sum(held) / max(len(held), 1),
        "json_valid_unheld": sum(free) / len(free) if free else None,
        "unheld_texts": len(free),
    }


def _lay_out(bench: Bench, fitted: Fitted, folder: Path) -> None:
    contender = fitted.contender
    scores = bench.split.task.summarise(listed_rows(folder, "validation.parquet").totals())
    facts = {
        "run": bench.spec.name,
        "contender": contender.name,
        "regime": contender.regime,
        "base": contender.base,
        "data": Path(bench.spec.data.path).name,
        "scores": {k: v for k, v in scores.items() if "/" not in k},
    }
    with extending(folder) as part:
        layouts.write(part, store.bare(folder, bench.pool), facts)


def gathered(bench: Bench, fitted: Fitted) -> Measured:
    """What evaluation needs, from the rows on disk, in the order that the examples have now; no latency."""
    fits, contender, parts = [], fitted.contender, bench.split.parts
    for seed, folder in fitted.folders.items():
        facts = open_artifact(folder).json("fit.json")["facts"]
        validation, test = outcome_rows(folder, "validation.parquet"), outcome_rows(folder, MARKS)
        if validation is None or test is None:
            raise ArtifactError(
                "this fit has not answered the test set since it was made", where=str(folder), remedy="loratory run"
            )
        validation, test = aligned(validation, parts.validation), aligned(test, parts.test)
        fits.append(Fit(seed, validation, test, facts.get("seconds", 0.0), facts))
    ship = open_artifact(fitted.folders[fitted.shipped])
    parameters = ship.json("fit.json")["parameters"]
    return Measured(
        contender.name,
        contender.regime,
        contender.base,
        contender.options.adapts,
        tuple(fits),
        fitted.shipped,
        Size(**parameters),
        needed_bytes(bench, ship.folder, contender.base),
        {},
        fitted.trials,
        beside={k: v for k, v in ship.json(METRICS).items() if k in BESIDE},
    )


def aligned(outcome: Outcome, examples: Sequence[Example]) -> Outcome:
    """Kept answers in the order, and with the origins and groups, that the same examples have now.

    A file may have been shuffled, renamed or grouped anew since: contenders that were measured at different times are
    compared row by row. Raises ArtifactError where the rows are not the same.
    """
    places: dict[str, list[int]] = {}
    for at, example in enumerate(outcome.examples):
        places.setdefault(digest_of([example.input, example.answer]), []).append(at)
    try:
        order = [places[digest_of([one.input, one.answer])].pop(0) for one in examples]
    except (KeyError, IndexError):
        order = []
    if len(order) != len(examples) or len(examples) != len(outcome.examples):
        raise ArtifactError("the kept answers are to other examples than the run's", remedy="loratory run")
    now = [replace(outcome.examples[at], origin=e.origin, group=e.group) for at, e in zip(order, examples, strict=True)]
    return Outcome(now, [outcome.predictions[at] for at in order], [outcome.marks[at] for at in order])


def needed_bytes(bench: Bench, folder: Path, base: str | None) -> int:
    """Bytes of all files that must be on disk to answer: the fit's own, and the base's weights where it shares one."""
    predictor_files = [
        name
        for name in (read_manifest(folder) or {"files": {}})["files"]
        if not name.startswith(("base_", "merged/")) and not name.endswith((".parquet", "README.md"))
    ]
    own: int = sum((folder / name).stat().st_size for name in predictor_files)
    if base is None or any(name.startswith("model/") for name in predictor_files):
        return own
    weights: int = sum(file.stat().st_size for file in bench.base(base).folder.glob("*.safetensors"))
    return own + weights
