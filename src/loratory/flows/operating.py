"""The operating point of a run's contenders: fitted beside each fit, and weighed on the test part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loratory.errors import SpecError, nearest
from loratory.evaluation import operating
from loratory.evaluation.bootstrap import group_index
from loratory.flows.bench import Bench
from loratory.flows.predict import inputs_of_file
from loratory.models.execution import run_here
from loratory.predictors.operated import Operated, judged
from loratory.protocols import JSON, Example, Input, Labelled, Outcome, Predictor
from loratory.specs.frame import Spec

FEWEST = 20  # examples of the calibration part
MOST_SHARE = 0.4  # of all examples that are set apart for it


def check(spec: Spec, task: Any, calibration: int) -> None:
    """Refuse what cannot be fitted, before anything is trained. Raises SpecError and DataError."""
    if spec.operating is None:
        return
    if not isinstance(task, Labelled):
        raise SpecError(f"an operating point is of labels, and this task is {task.kind}", where="operating")
    if calibration < FEWEST:
        raise SpecError(
            f"the calibration part has {calibration} examples",
            where="operating",
            allowed=f"at least {FEWEST}",
            remedy=_larger(spec.data.split.calibration, calibration),
        )
    for label in spec.operating.thresholds:
        if label not in (task.labels or ()):
            raise SpecError(
                f"{label!r} is no label{nearest(label, task.labels or ())}",
                where="operating: thresholds",
                allowed=", ".join(task.labels or ()),
            )
    abstain = spec.operating.abstain
    for name in [*([abstain.out_of_scope] if abstain.out_of_scope else []), *abstain.test.values()] if abstain else []:
        _texts(spec, task, name)


def _larger(share: float | None, calibration: int) -> str:
    """How the calibration part comes to be large enough."""
    needed = math.ceil(100 * share * FEWEST / calibration) / 100 if share and calibration else 0.1
    return f"set data: split: calibration: {needed:g}" if needed <= MOST_SHARE else "add examples"


def _texts(spec: Spec, task: Any, name: str) -> list[Input]:
    found = inputs_of_file(task, spec.folder / Path(name).expanduser(), ())
    if not found:
        raise SpecError(f"{name} holds no text", where="operating: abstain")
    return found


def operated(bench: Bench, predictor: Predictor) -> tuple[Predictor, dict[str, JSON]]:
    """The predictor at the point that the spec asks for, and how it came about."""
    spec = bench.spec.operating
    if spec is None:
        return predictor, {}
    parts, abstain = bench.split.parts, spec.abstain
    outside = _texts(bench.spec, predictor.task, abstain.out_of_scope) if abstain and abstain.out_of_scope else []
    asked = outside or len(spec.thresholds) > 1  # else nothing is chosen on validation
    inside = _known(predictor, parts.validation if asked else ())
    found = operating.fit(spec, _known(predictor, parts.calibration), inside, _judged(predictor, outside))
    return Operated(predictor, found.point), {"point": asdict(found.point), **found.facts}


def _known(predictor: Predictor, examples: Sequence[Example]) -> operating.Known:
    task: Any = predictor.task
    labels = [task.label_of(example.answer) for example in examples]
    return operating.Known(_judged(predictor, [e.input for e in examples]), labels, group_index(examples))


def _judged(predictor: Predictor, inputs: Sequence[Input]) -> operating.Judged:
    return judged(predictor, inputs, run_here)


def weighed(bench: Bench, predictor: Predictor, test: Outcome) -> dict[str, Any]:
    """What the point changes on the test part and on the files of texts out of scope; nothing where there is none."""
    if not isinstance(predictor, Operated):
        return {}
    spec = bench.spec.operating
    abstain = spec.abstain if spec else None
    files: Mapping[str, str] = abstain.test if abstain else {}
    inner, task = predictor.predictor, predictor.task
    inside = _judged(inner, [e.input for e in test.examples]) if abstain else []
    outside = {name: _judged(inner, _texts(bench.spec, task, file)) for name, file in files.items()}
    asked = spec.thresholds if spec else {}
    return {"operating": operating.worth(task, predictor.point, test, inside, outside, asked)}
