"""Five and ten examples a label: what the levers do where examples are few.

python benchmarks/fewshot.py --data FOLDER [--seeds 3] [--epochs 12]

FOLDER: train_5, train_10, valid and test, each with `seq.in` and `label`, a line an example (the splits of banking77
that few-shot papers use). Every fourth validation text chooses the epoch and the contender; the test set is read once
for each fit. Writes results/fewshot.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

RESULT = Path(__file__).parent / "results" / "fewshot.json"
WARM = {"epochs": 3, "labels": 8, "examples": 4}
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "prototype": ("prototype", {}),
    "prototype, label names": ("prototype", {"label_names": 1.0}),
    "head": ("head", {}),
    "head, label names": ("head", {"label_names": 1.0}),
    "lora": ("lora", {}),
    "lora, label names": ("lora", {"label_names": 1.0}),
    "lora, label names, contrastive": ("lora", {"label_names": 1.0, "contrastive": WARM}),
}
PUBLISHED = {"FastFit, 5 shots": 0.824, "CPFT, 10 shots": 0.872}


def read(folder: Path) -> tuple[Any, ...]:
    """Examples of one part."""
    from loratory.protocols import Example

    texts = (folder / "seq.in").read_text(encoding="utf-8").splitlines()
    labels = (folder / "label").read_text(encoding="utf-8").splitlines()
    pairs = zip(texts, labels, strict=True)
    return tuple(
        Example({"text": t}, {"label": label}, origin=f"{folder.name}:{i}") for i, (t, label) in enumerate(pairs, 1)
    )


def fitted(name: str, train: Any, data: Path, seed: int, epochs: int) -> dict[str, float]:
    """One fit: validation and test accuracy, and the seconds that it took."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.discovery import load_named
    from loratory.experiment.run import resolve_auto_options
    from loratory.protocols import FitContext, TrainSet, predict_and_score
    from loratory.specs.training import TrainingSpec
    from loratory.tasks.classify import Classify
    from loratory.training.checkpoints import NoCheckpoints

    regime, options = CONTENDERS[name]
    task = Classify().resolve_options(train)
    train_set = TrainSet(train, read(data / "valid")[::4])
    training = resolve_auto_options(
        TrainingSpec(epochs=epochs, batch_examples=16), hardware_benchmark.load_or_measure()
    )
    context = FitContext(seed, run_locally, NoCheckpoints(), ActivationCache(run_locally), training)
    started = time.perf_counter()
    made = load_named("regimes", regime)(**options).fit(task, train_set, trunk(), context)
    seconds = time.perf_counter() - started
    accuracy = [
        task.summarise(predict_and_score(made, part, run_locally).sum_counts())["accuracy"]
        for part in (train_set.validation, read(data / "test"))
    ]
    return {"validation": accuracy[0], "test": accuracy[1], "seconds": round(seconds, 1)}


def trunk() -> Any:
    """The shared base."""
    from loratory.backbones.pool import TorchBackbonePool

    if not POOL:
        POOL.append(TorchBackbonePool())
    return POOL[0].get_base("minilm")


POOL: list[Any] = []


def main() -> None:
    """Fit, summarise, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    from loratory.experiment.run import describe_environment

    shots: dict[str, Any] = {}
    for part in ("train_5", "train_10"):
        train = read(options.data / part)
        rows: dict[str, dict[str, Any]] = {}
        for name, (regime, _) in CONTENDERS.items():
            seeds = 1 if regime == "prototype" else options.seeds
            fits = [fitted(name, train, options.data, seed, options.epochs) for seed in range(1, seeds + 1)]
            scores = [fit["test"] for fit in fits]
            rows[name] = {
                "validation": round(mean(fit["validation"] for fit in fits), 4),
                "test": round(mean(scores), 4),
                "sd": round(stdev(scores), 4) if seeds > 1 else None,
                "fits": fits,
            }
            print(part, name, {key: rows[name][key] for key in ("validation", "test", "sd")}, flush=True)
        chosen = max(rows, key=lambda name: float(rows[name]["validation"]))
        shots[part] = {"chosen_on_validation": chosen, "test_of_the_chosen": rows[chosen]["test"], "contenders": rows}
    result = {"machine": describe_environment("cpu"), "epochs": options.epochs, "published": PUBLISHED, **shots}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
