"""What consistency training does to flips and to accuracy: lora against lora with consistency, on the test part.

python benchmarks/consistency.py [--spec risk-triage] [--set KEY=VALUE ...] [--consistency KEY=VALUE ...] [--seeds 3]
    [--texts N] [--output FILE]

Both are fitted with the same seeds and batches; each seed's fits answer the test texts as they are and under each
perturbation of `stress:` (all of them where the spec has none). Its seed differs from those that twins are drawn with.
Gains are means over seeds of the difference to the plain fit of the same seed, in points. Writes
results/consistency.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

RESULT = Path(__file__).parent / "results" / "consistency.json"


def measured(spec: Any, consistency: Any, seed: int) -> dict[str, Any]:
    """Accuracy, flips and broken answers of one fit, and its time."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.experiment.inference.stress_run import StressRequest, measure_under_stress
    from loratory.experiment.prepare import prepare_split
    from loratory.experiment.run import resolve_auto_options
    from loratory.experiment.steps.preflight import check_ladder
    from loratory.protocols import FitContext, TrainSet, predict_and_score
    from loratory.specs.stress import StressSpec
    from loratory.training.checkpoints import NoCheckpoints

    check_ladder(spec)
    contender = next(one for one in spec.ladder if one.regime == "lora")
    split = prepare_split(spec, lambda event, values: None)
    regime = contender.options.model_copy(update={"consistency": consistency})
    training = resolve_auto_options(spec.training, hardware_benchmark.load_or_measure())
    context = FitContext(seed, run_locally, NoCheckpoints(), ActivationCache(run_locally), training)
    started = time.monotonic()
    train_set = TrainSet(split.parts.train, split.parts.validation)
    made = regime.fit(split.task, train_set, TorchBackbonePool().get_base(contender.base or spec.base), context)
    seconds = time.monotonic() - started
    found = measure_under_stress(made, StressRequest(spec.stress or StressSpec(), spec.evidence, split.parts.test))
    scores = split.task.summarise(predict_and_score(made, split.parts.test, run_locally).sum_counts())
    rows = found["perturbations"]
    return {
        "accuracy": scores["accuracy"],
        "seconds": seconds,
        "flips": {row["name"]: row["flips"]["value"] for row in rows if row.get("flips")},
        "broken": {row["name"]: row["broken"]["value"] for row in rows if row.get("broken")},
        "after": {row["name"]: row["score"]["after"] for row in rows if row["score"]},
    }


def gains(plain: Sequence[dict[str, Any]], other: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean differences to the plain fit of the same seed, in points."""

    def points(of: Sequence[tuple[float, float]]) -> float:
        return round(100 * mean(b - a for a, b in of), 2)

    pairs = list(zip(plain, other, strict=True))
    made: dict[str, Any] = {"accuracy": points([(a["accuracy"], b["accuracy"]) for a, b in pairs])}
    for key in ("flips", "broken", "after"):
        made[key] = {name: points([(a[key][name], b[key][name]) for a, b in pairs]) for name in plain[0][key]}
    return made


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    from loratory.experiment.run import describe_environment
    from loratory.experiment.spec_loading import load_spec
    from loratory.specs.overrides import apply_overrides
    from loratory.specs.training import ConsistencySpec

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", default="risk-triage")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--consistency", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    changes = ["ladder=[lora]", "gate=null", "data.suspects=false", "stress.seed=1001", f"stress.texts={options.texts}"]
    spec = load_spec(options.spec, None, [*changes, *options.set])
    asked = ConsistencySpec(**apply_overrides({}, options.consistency)[0])
    fits: dict[str, list[dict[str, Any]]] = {"lora": [], "lora with consistency": []}
    for seed in range(1, options.seeds + 1):
        for name, consistency in (("lora", None), ("lora with consistency", asked)):
            fits[name].append(measured(spec, consistency, seed))
            print(name, seed, json.dumps(fits[name][-1]), flush=True)
    plain, other = fits.values()
    result = {
        "machine": describe_environment("cpu"),
        "spec": spec.to_dict(),
        "consistency": asked.model_dump(mode="json"),
        "seeds": options.seeds,
        "fits": fits,
        "gains": gains(plain, other),
    }
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
