"""The operating point of a run's contenders: fitted beside each fit, and weighed on the test part."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loratory.backbones.forward.execution import run_locally
from loratory.errors import SpecError, suggest_nearest
from loratory.evaluation.statistics import operating_point_fitting
from loratory.evaluation.statistics.bootstrap import index_groups
from loratory.experiment.inference.local_prediction import read_input_file
from loratory.experiment.run_context import RunContext
from loratory.predictors.calibrated import CalibratedPredictor, predict_with_ood_scores
from loratory.protocols import JSON, Example, Input, Labelled, Predictor, ScoredPredictions, Task
from loratory.specs.spec import Spec

MIN_CALIBRATION_EXAMPLES = 20  # examples of the calibration part
MAX_CALIBRATION_SHARE = 0.4  # of all examples that are set apart for it


def check_operating_options(spec: Spec, task: Task, calibration: int) -> None:
    """Refuse what cannot be fitted, before anything is trained. Raises SpecError and DataError."""
    if spec.operating is None:
        return
    if not isinstance(task, Labelled):
        raise SpecError(f"an operating point is of labels, and this task is {task.kind}", where="operating")
    if calibration < MIN_CALIBRATION_EXAMPLES:
        raise SpecError(
            f"the calibration part has {calibration} examples",
            where="operating",
            allowed=f"at least {MIN_CALIBRATION_EXAMPLES}",
            remedy=_suggest_larger_part(spec.data.split.calibration, calibration),
        )
    for label in spec.operating.thresholds:
        if label not in (task.labels or ()):
            raise SpecError(
                f"{label!r} is no label{suggest_nearest(label, task.labels or ())}",
                where="operating: thresholds",
                allowed=", ".join(task.labels or ()),
            )
    abstain = spec.operating.abstain
    for name in [*([abstain.out_of_scope] if abstain.out_of_scope else []), *abstain.test.values()] if abstain else []:
        _read_out_of_scope_texts(spec, task, name)


def _suggest_larger_part(share: float | None, calibration: int) -> str:
    """How the calibration part comes to be large enough."""
    needed = math.ceil(100 * share * MIN_CALIBRATION_EXAMPLES / calibration) / 100 if share and calibration else 0.1
    return f"set data: split: calibration: {needed:g}" if needed <= MAX_CALIBRATION_SHARE else "add examples"


def _read_out_of_scope_texts(spec: Spec, task: Task, name: str) -> list[Input]:
    found = read_input_file(task, spec.folder / Path(name).expanduser(), ())
    if not found:
        raise SpecError(f"{name} holds no text", where="operating: abstain")
    return found


def fit_operating_point(context: RunContext, predictor: Predictor) -> tuple[Predictor, dict[str, JSON]]:
    """The predictor at the point that the spec asks for, and how it came about."""
    spec = context.spec.operating
    if spec is None:
        return predictor, {}
    parts, abstain = context.split.parts, spec.abstain
    outside = (
        _read_out_of_scope_texts(context.spec, predictor.task, abstain.out_of_scope)
        if abstain and abstain.out_of_scope
        else []
    )
    asked = outside or len(spec.thresholds) > 1  # else nothing is chosen on validation
    inside = _judge_known_examples(predictor, parts.validation if asked else ())
    found = operating_point_fitting.fit_operating_point(
        spec, _judge_known_examples(predictor, parts.calibration), inside, _judge_inputs(predictor, outside)
    )
    return CalibratedPredictor(predictor, found.point), {"point": found.point.to_dict(), **found.facts}


def _judge_known_examples(predictor: Predictor, examples: Sequence[Example]) -> operating_point_fitting.ScoredPart:
    task: Any = predictor.task
    labels = [task.label_of(example.answer) for example in examples]
    return operating_point_fitting.ScoredPart(
        _judge_inputs(predictor, [e.input for e in examples]), labels, index_groups(examples)
    )


def _judge_inputs(predictor: Predictor, inputs: Sequence[Input]) -> operating_point_fitting.ScoredTexts:
    return predict_with_ood_scores(predictor, inputs, run_locally)


def evaluate_operating_point(context: RunContext, predictor: Predictor, test: ScoredPredictions) -> dict[str, Any]:
    """What the point changes on the test part and on the files of texts out of scope; nothing where there is none."""
    if not isinstance(predictor, CalibratedPredictor):
        return {}
    spec = context.spec.operating
    abstain = spec.abstain if spec else None
    files: Mapping[str, str] = abstain.test if abstain else {}
    inner, task = predictor.predictor, predictor.task
    inside = _judge_inputs(inner, [e.input for e in test.examples]) if abstain else []
    outside = {
        name: _judge_inputs(inner, _read_out_of_scope_texts(context.spec, task, file)) for name, file in files.items()
    }
    asked = spec.thresholds if spec else {}
    return {
        "operating": operating_point_fitting.measure_operating_point(
            task, predictor.point, test, inside, outside, asked
        )
    }
