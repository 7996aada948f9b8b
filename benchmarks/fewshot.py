"""Five and ten examples a label: what the levers do where examples are few.

python benchmarks/fewshot.py --data FOLDER [--seeds 3] [--epochs 12] [--contenders NAME ...] [--shots train_5 ...]

FOLDER: train_5, train_10, valid and test, each with `seq.in` and `label`, a line an example (the splits of banking77
that few-shot papers use). Every fourth validation text chooses the epoch, all of them choose the contender; the test
set is read once for each fit. Without --epochs the default of training decides. Results of contenders that are not
named stay as they are in results/<processor>/fewshot.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from processors import describe_machine, result_file

WARM = {"epochs": 3, "labels": 8, "examples": 4}
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "prototype": ("prototype", {}),
    "prototype, no label names": ("prototype", {"label_names": 0.0}),
    "head": ("head", {}),
    "head, no label names": ("head", {"label_names": 0.0}),
    "lora": ("lora", {}),
    "lora, no label names": ("lora", {"label_names": 0.0}),
    "lora, contrastive": ("lora", {"contrastive": WARM}),
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


def fit_once(name: str, train: Any, data: Path, seed: int, epochs: int | None) -> dict[str, float]:
    """One fit: validation and test accuracy, and the seconds that it took."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.discovery import load_named
    from loratory.experiment.environment import resolve_auto_options
    from loratory.protocols import FitContext, TrainSet, predict_and_score
    from loratory.specs.training import TrainingSpec
    from loratory.tasks.classify import Classify
    from loratory.training.checkpoints import NoCheckpoints

    regime, options = CONTENDERS[name]
    task = Classify().resolve_options(train)
    train_set = TrainSet(train, read(data / "valid")[::4])
    training = resolve_auto_options(TrainingSpec(epochs=epochs), hardware_benchmark.load_or_measure())
    context = FitContext(seed, run_locally, NoCheckpoints(), ActivationCache(run_locally), training)
    started = time.perf_counter()
    made = load_named("regimes", regime)(**options).fit(task, train_set, load_base(), context)
    seconds = time.perf_counter() - started
    accuracy = [
        task.summarise(predict_and_score(made, part, run_locally).sum_counts())["accuracy"]
        for part in (read(data / "valid"), read(data / "test"))
    ]
    return {"validation": accuracy[0], "test": accuracy[1], "seconds": round(seconds, 1)}


def load_base() -> Any:
    """The shared base."""
    from loratory.backbones.pool import TorchBackbonePool

    if not POOL:
        POOL.append(TorchBackbonePool())
    return POOL[0].get_base("minilm")


POOL: list[Any] = []


def measure_contender(name: str, part: str, data: Path, seeds: int, epochs: int | None) -> dict[str, Any]:
    """Means over the seeds; one fit of what has no seed."""
    count = 1 if CONTENDERS[name][0] == "prototype" else seeds
    train = read(data / part)
    fits = [fit_once(name, train, data, seed, epochs) for seed in range(1, count + 1)]
    scores = [fit["test"] for fit in fits]
    row = {
        "validation": round(mean(fit["validation"] for fit in fits), 4),
        "test": round(mean(scores), 4),
        "sd": round(stdev(scores), 4) if count > 1 else None,
    }
    print(part, name, row, flush=True)
    return {**row, "fits": fits}


def main() -> None:
    """Fit, summarise, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--contenders", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--shots", nargs="*", default=["train_5", "train_10"])
    options = parser.parse_args()
    file = result_file("fewshot")
    result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    result |= {"machine": describe_machine(), "epochs": options.epochs, "published": PUBLISHED}
    for part in options.shots:
        rows = result.get(part, {}).get("contenders", {})
        for name in options.contenders:
            rows[name] = measure_contender(name, part, options.data, options.seeds, options.epochs)
            chosen = max(rows, key=lambda name: float(rows[name]["validation"]))
            test = rows[chosen]["test"]
            result[part] = {"chosen_on_validation": chosen, "test_of_the_chosen": test, "contenders": rows}
            file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
