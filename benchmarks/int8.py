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

from loratory.cli.printing import Screen
from loratory.data import store as splits
from loratory.flows.opening import open_predictor
from loratory.flows.run import Place, run
from loratory.flows.specs import load_spec
from loratory.models import int8, probe
from loratory.models.execution import run_here
from loratory.protocols import Outcome, Predictor, answer
from loratory.serving.engine import innermost

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
    place = Place.of(spec := load_spec("banking77", options.data, changes), options.runs / "banking77-int8")
    with Screen() as screen:
        run(spec, place, screen)
    predictor, _ = open_predictor(place.folder, "lora")
    examples = splits.read(place.folder / "data").test
    exact = answer(predictor, examples, run_here)
    found: dict[str, Any] = {
        "machine": {"processor": probe.processor(), "cores": os.cpu_count()},
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


def answer_with(predictor: Predictor, examples: Sequence[Any], bits: int) -> Outcome:
    """The answers with graphs whose weights have so many bits, whatever the machine would choose."""
    network: Any = innermost(predictor).network
    measured, int8.weight_bits = int8.weight_bits, lambda: bits  # type: ignore[assignment]
    try:
        network.trunk.sessions.clear()
        with tempfile.TemporaryDirectory() as graphs:
            int8.prepare(network, Path(graphs), 1, print)
            return answer(predictor, examples, run_here)
    finally:
        int8.weight_bits = measured
        network.trunk.sessions.clear()


def accuracy(predictor: Predictor, outcome: Outcome) -> float:
    """Share of right answers."""
    return float(predictor.task.summarise(outcome.totals())["accuracy"])


if __name__ == "__main__":
    main()
