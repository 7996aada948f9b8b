"""What eight bits cost in quality on this machine: answers of a fit in fp32, with weights of 8 bits and of 7.

python benchmarks/int8.py --data FOLDER [--set training.epochs=2]      writes results/int8.json

FOLDER holds banking77's train.csv and test.csv. Where sums of 8-bit products saturate (x86 without VNNI), weights of 8
bits lose answers and weights of 7 bits keep them; `loratory serve` takes what `weight_bits` says.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loratory.backbones.forward import hardware_benchmark, int8
from loratory.backbones.forward.execution import run_locally
from loratory.data import split_files as splits
from loratory.display.progress_screen import ProgressScreen
from loratory.experiment.artifact_lookup import open_predictor
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec
from loratory.protocols import Predictor, ScoredPredictions, predict_and_score
from loratory.serving.engine.capabilities import network_of

RESULT = Path(__file__).parent / "results" / "int8.json"
BITS = (8, 7)


def main() -> None:
    """Fit LoRA on banking77, and answer its test set three times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    options = parser.parse_args()
    changes = ["ladder=[head, lora]", "training.seeds=1", *options.set]
    place = RunPaths.for_spec(spec := load_spec("banking77", options.data, changes), options.runs / "banking77-int8")
    with ProgressScreen() as screen:
        run_experiment(spec, place, screen)
    predictor, _ = open_predictor(place.folder, "lora")
    examples = splits.read_split(place.folder / "data", predictor.task).test
    exact = predict_and_score(predictor, examples, run_locally)
    found: dict[str, Any] = {
        "machine": {"processor": hardware_benchmark.processor_name(), "cores": os.cpu_count()},
        "weight_bits": int8.weight_bits(),
        "test": len(examples),
        "fp32": {"accuracy": accuracy(predictor, exact)},
    }
    for bits in BITS:
        made = answer_with(predictor, examples, bits)
        pairs = zip(exact.predictions, made.predictions, strict=True)
        same = sum(a.answer == b.answer for a, b in pairs)
        found[f"{bits} bits"] = {"accuracy": accuracy(predictor, made), "same_answers": same / len(examples)}
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


def answer_with(predictor: Predictor, examples: Sequence[Any], bits: int) -> ScoredPredictions:
    """The answers with graphs whose weights have so many bits, whatever the machine would choose."""
    network: Any = network_of(predictor)
    measured, int8.weight_bits = int8.weight_bits, lambda: bits  # type: ignore[assignment]
    try:
        if network.backbone.compute_backend is not None:
            network.backbone.compute_backend.sessions.clear()
        with tempfile.TemporaryDirectory() as graphs:
            int8.prepare_int8(network, Path(graphs), 1, print)
            return predict_and_score(predictor, examples, run_locally)
    finally:
        int8.weight_bits = measured
        if network.backbone.compute_backend is not None:
            network.backbone.compute_backend.sessions.clear()


def accuracy(predictor: Predictor, outcome: ScoredPredictions) -> float:
    """Share of right answers."""
    return float(predictor.task.summarise(outcome.sum_counts())["accuracy"])


if __name__ == "__main__":
    main()
