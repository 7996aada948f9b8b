"""Each accuracy lever against the plain fit, on validation and calibration texts of several sets; no test set is read.

python benchmarks/levers.py [--banking77 FOLDER] [--spec FILE ...] [--seeds 2] [--epochs 4]

Fits are LoRA on the top three layers with the lower ones remembered. A lever's figure is the mean over seeds of its
difference from the plain fit of the same seed, in points of accuracy, on the texts that chose no epoch (calibration)
and on those that did (validation). Writes results/levers.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

RESULT = Path(__file__).parent / "results" / "levers.json"
LEVERS: dict[str, dict[str, dict[str, Any]]] = {
    "plain": {},
    "label_names: 1": {"lora": {"label_names": 1.0}},
    "contrastive: {epochs: 1}": {"lora": {"contrastive": {"epochs": 1}}},
    "average: 0.99": {"training": {"average": 0.99}},
    "clean: true": {"data": {"clean": True}},
    "layers: top-2": {"lora": {"layers": "top-2"}},
    "layers: all": {"lora": {"layers": "all"}},
}


def measured(spec: Any, seeds: int, epochs: int) -> dict[str, dict[str, list[float]]]:
    """Accuracy by lever and part, a figure for each seed."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.experiment.prepare import prepare_split
    from loratory.experiment.run import resolve_auto_options
    from loratory.protocols import FitContext, TrainSet, predict_and_score
    from loratory.regimes.lora import Lora
    from loratory.specs.training import TrainingSpec
    from loratory.training.checkpoints import NoCheckpoints

    remembered, backbone = ActivationCache(run_locally), TorchBackbonePool().get_base("minilm")
    splits = {}
    for clean in (False, True):
        data = spec.data.model_copy(update={"clean": clean})
        splits[clean] = prepare_split(replace(spec, data=data), lambda event, values: None)
    found: dict[str, dict[str, list[float]]] = {}
    for name, lever in LEVERS.items():
        split = splits[bool(lever.get("data"))]
        training = resolve_auto_options(
            TrainingSpec(**{"epochs": epochs, **lever.get("training", {})}), hardware_benchmark.load_or_measure()
        )
        regime = Lora(**{"layers": "top-3", **lever.get("lora", {})})
        rows = found.setdefault(name, {"validation": [], "calibration": []})
        for seed in range(1, seeds + 1):
            context = FitContext(seed, run_locally, NoCheckpoints(), remembered, training)
            made = regime.fit(split.task, TrainSet(split.parts.train, split.parts.validation), backbone, context)
            for part, scores in rows.items():
                totals = predict_and_score(made, getattr(split.parts, part), run_locally).sum_counts()
                scores.append(split.task.summarise(totals)["accuracy"])
        print(spec.name, name, {part: round(mean(scores), 4) for part, scores in rows.items()}, flush=True)
    return found


def differences(found: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Points gained against the plain fit of the same seed."""
    out: dict[str, Any] = {}
    for name, rows in found.items():
        gained = {
            part: round(100 * mean(a - b for a, b in zip(scores, found["plain"][part], strict=True)), 2)
            for part, scores in rows.items()
        }
        out[name] = {**{part: [round(s, 4) for s in scores] for part, scores in rows.items()}, "gained": gained}
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every set and write."""
    from loratory.experiment.run import describe_environment
    from loratory.experiment.spec_loading import load_spec

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--banking77")
    parser.add_argument("--spec", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args(arguments)
    specs = [
        load_spec("risk-triage", None, ["data.split.calibration=0.1"]),
        *(load_spec(file, None, []) for file in options.spec),
    ]
    if options.banking77:
        specs.append(load_spec("banking77", options.banking77, ["data.split.calibration=0.05"]))
    sets = {spec.name: differences(measured(spec, options.seeds, options.epochs)) for spec in specs}
    result = {"machine": describe_environment("cpu"), "seeds": options.seeds, "epochs": options.epochs, "sets": sets}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
