"""How cost grows: seconds and peak memory of training against examples, length and labels, each point its own process.

python benchmarks/scaling.py [--only by_examples]      writes results/scaling.json and docs/images/scaling.svg

Texts are random words, so nothing is learnt: only the cost is measured. Against examples: one epoch of LoRA on the top
two layers with the lower ones remembered, from texts to the end of the epoch. Against length and labels: steps of LoRA
in every layer with the defaults.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT, PICTURE = HERE / "results" / "scaling.json", HERE.parent / "docs" / "images" / "scaling.svg"
EXAMPLES = (1_000, 3_000, 10_000, 30_000, 100_000)
LENGTHS = (16, 32, 64, 128, 256, 512)
LABELS = (2, 10, 100, 300, 1_000)
WORDS = (
    "account bank card cash change code day fee help limit loan money name number pay phone rate sum tax year".split()
)
STEPS = 40
COLUMNS: dict[str, dict[int, tuple[int, int, int, str, int | None]]] = {  # examples, tokens, labels, layers, steps
    "by_examples": {n: (n, 16, 10, "top-2", None) for n in EXAMPLES},
    "by_length": {n: ((STEPS + 2) * 64, n, 10, "all", STEPS) for n in LENGTHS},
    "by_labels": {n: (max((STEPS + 2) * 64, 3 * n), 16, n, "all", STEPS) for n in LABELS},
}


class Enough(Exception):
    """As many steps as were asked for."""


def cost(pipe: Connection, examples: int, tokens: int, labels: int, layers: str, steps: int | None) -> None:
    """Train on random words; send examples/s, seconds in all and peak memory."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.experiment.run import resolve_auto_options
    from loratory.protocols import Example, FitContext, TrainSet
    from loratory.regimes.lora import Lora
    from loratory.specs.training import TrainingSpec
    from loratory.tasks.classify import Classify
    from loratory.training.checkpoints import NoCheckpoints

    chance = random.Random(1)
    names = tuple(f"label {i}" for i in range(labels))
    texts = [" ".join(chance.choices(WORDS, k=tokens - 2)) for _ in range(examples)]
    made = tuple(Example({"text": t}, {"label": names[i % labels]}) for i, t in enumerate(texts))
    training = resolve_auto_options(TrainingSpec(epochs=1, max_tokens=512), hardware_benchmark.load_or_measure())
    backbone = TorchBackbonePool().get_base("minilm")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    times: list[float] = []

    def report(event: str, values: Mapping[str, Any]) -> None:
        if event == "step":
            times.append(time.perf_counter())
            if steps and len(times) > steps:
                raise Enough

    context = FitContext(1, run_locally, NoCheckpoints(), ActivationCache(run_locally), training, report)
    try:
        Lora(layers=layers).fit(Classify(labels=names), TrainSet(made, made[:1]), backbone, context)
    except Enough:
        pass
    seconds = times[-1] - times[0]
    a_step = max(training.batch_tokens // tokens, training.batch_examples)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    pipe.send(
        {
            "examples_per_second": round(a_step * (len(times) - 1) / seconds, 1),
            "seconds": round(times[-1] - started, 1),
            "peak_memory_mb": round(peak),
            "memory_before_mb": round(before),
        }
    )


def measured(*settings: Any) -> dict[str, Any]:
    """`cost` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=cost, args=(theirs, *settings))
    process.start()
    theirs.close()
    found: dict[str, Any] = mine.recv()
    process.join()
    print(settings, found, flush=True)
    return found


def draw(result: Mapping[str, Any]) -> None:
    """Cost against examples, length and labels, on logarithmic axes."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "loratory"
    figure, axes = plt.subplots(2, 3, figsize=(11, 5.2), layout="constrained", sharex="col")
    columns = (
        ("by_examples", "examples", "seconds", "seconds of an epoch,\ncaching included"),
        ("by_length", "tokens of a text", "examples_per_second", "examples/s"),
        ("by_labels", "labels", "examples_per_second", "examples/s"),
    )
    for number, (key, name, value, said) in enumerate(columns):
        x = [int(k) for k in result[key]]
        above, below = axes[0][number], axes[1][number]
        above.plot(x, [row[value] for row in result[key].values()], "o-", color="#2f6fb5")
        below.plot(x, [row["peak_memory_mb"] for row in result[key].values()], "o-", color="#b5562f")
        above.set(xscale="log", yscale="linear" if key == "by_labels" else "log", ylabel=said)
        below.set(xlabel=name, ylabel="peak memory, MiB")
        below.set_xticks(x, [f"{n:,}" for n in x])
        below.minorticks_off()
        for axis in (above, below):
            axis.margins(y=0.12)
            if axis.get_yscale() == "linear":
                axis.set_ylim(0, 1.15 * max(axis.lines[0].get_ydata()))
            axis.grid(alpha=0.3)
            axis.spines[["top", "right"]].set_visible(False)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> None:
    """Measure, write and draw."""
    from loratory.experiment.run import describe_environment

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(COLUMNS), help="the other columns keep their earlier figures")
    parser.add_argument("--draw", action="store_true", help="draw what was measured before")
    options = parser.parse_args()
    only = options.only
    if options.draw:
        draw(json.loads(RESULT.read_text(encoding="utf-8")))
        return
    result = json.loads(RESULT.read_text(encoding="utf-8")) if only else {}
    result |= {"machine": describe_environment("cpu"), "base": "minilm"}
    for name, points in COLUMNS.items():
        if only in (None, name):
            result[name] = {str(n): measured(*settings) for n, settings in points.items()}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result)


if __name__ == "__main__":
    main()
