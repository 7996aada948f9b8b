"""Seconds to a validation accuracy: ours with the lower layers remembered, and the stock Trainer with its best flags.

python benchmarks/reach.py --data FOLDER [--accuracy 0.922] [--stock-epochs 10] [--only ours]

The clock starts before the base is loaded and texts are tokenised, and stops at the end of the first epoch whose
validation accuracy reaches the mark; validation itself is on the clock. Both train on the same texts and validate on
the same ones. FOLDER: banking77's train.csv and test.csv; the test set is not looked at. Writes results/reach.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training import BEST, prepared, stock_trainer

RESULT = Path(__file__).parent / "results" / "reach.json"
STOCK = {"learning_rate": 1e-3, "warmup_steps": 0.05}  # the Trainer's default rate of 5e-5 is far too low for LoRA


class Reached(Exception):
    """The mark is reached."""


def ours(data: str, mark: float, layers: str, epochs: int) -> dict[str, Any]:
    """Loratory with its defaults but for the layers."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.experiment.run import resolve_auto_options
    from loratory.protocols import FitContext, TrainSet
    from loratory.regimes.lora import Lora
    from loratory.specs.training import TrainingSpec
    from loratory.training.checkpoints import NoCheckpoints

    ready = prepared(data)
    training = resolve_auto_options(TrainingSpec(epochs=epochs), hardware_benchmark.load_or_measure())
    regime = Lora(layers=layers)
    history: list[dict[str, float]] = []
    started = time.perf_counter()

    def report(event: str, values: Mapping[str, Any]) -> None:
        if event == "epoch":
            history.append({"accuracy": round(values["score"], 4), "seconds": round(time.perf_counter() - started, 1)})
            print(f"ours, {layers}: {history[-1]}", flush=True)

    def context(seed: int) -> FitContext:
        return FitContext(
            seed,
            run_locally,
            NoCheckpoints(),
            ActivationCache(run_locally),
            report=report,
            training=training,
            should_stop=lambda: False,
            device="cpu",
        )

    train_set = TrainSet(ready.parts.train, ready.parts.validation)
    regime.fit(ready.task, train_set, TorchBackbonePool().get_base("minilm"), context(1))
    return {"settings": {"lora": regime.model_dump(), "training": training.model_dump()}, **outcome(history, mark)}


def stock(data: str, mark: float, epochs: int) -> dict[str, Any]:
    """The Trainer with length grouping, bf16, no dropout and a learning rate that suits LoRA."""
    from transformers import TrainerCallback

    ready = prepared(data)
    history: list[dict[str, float]] = []
    started = time.perf_counter()

    class Watch(TrainerCallback):
        def on_evaluate(self, *arguments: Any, **options: Any) -> None:
            seconds = round(time.perf_counter() - started, 1)
            history.append({"accuracy": round(options["metrics"]["eval_accuracy"], 4), "seconds": seconds})
            print(f"stock: {history[-1]}", flush=True)
            if history[-1]["accuracy"] >= mark:
                raise Reached

    arguments = {**BEST["arguments"], **STOCK, "num_train_epochs": epochs, "eval_strategy": "epoch"}
    with tempfile.TemporaryDirectory() as folder:
        trainer = stock_trainer(ready, {**BEST, "arguments": arguments}, folder, lambda lengths: None)
        trainer.compute_metrics = lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())}
        trainer.add_callback(Watch())
        try:
            trainer.train()
        except Reached:
            pass
    return {"settings": {"arguments": arguments, "model": BEST["model"]}, **outcome(history, mark)}


def outcome(history: list[dict[str, float]], mark: float) -> dict[str, Any]:
    """When the mark was reached, or None, with the whole history."""
    reached = next((row["seconds"] for row in history if row["accuracy"] >= mark), None)
    return {"seconds_to_mark": reached, "best": max(row["accuracy"] for row in history), "history": history}


def main() -> None:
    """Measure and write; a part that is left out keeps its earlier figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--accuracy", type=float, default=0.922)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--stock-epochs", type=int, default=10)
    parser.add_argument("--only", choices=("ours", "stock"))
    options = parser.parse_args()
    from loratory.experiment.run import describe_environment

    result = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    result |= {"machine": describe_environment("cpu"), "accuracy": options.accuracy}
    if options.only != "stock":
        for layers in ("top-2", "top-3"):
            name = f"ours_{layers.replace('-', '')}"
            result[name] = ours(options.data, options.accuracy, layers, options.epochs)
    if options.only != "ours":
        result["stock_best"] = stock(options.data, options.accuracy, options.stock_epochs)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print({name: one["seconds_to_mark"] for name, one in result.items() if isinstance(one, dict) and "history" in one})


if __name__ == "__main__":
    main()
