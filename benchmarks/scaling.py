"""How cost grows: seconds and peak memory against examples, length, labels and vocabulary, each point its own process.

python benchmarks/scaling.py [--only by_examples]      writes results/scaling.json and docs/images/scaling.svg

Texts are random words, so nothing is learnt: only the cost is measured. Against examples: one epoch of LoRA on the top
two layers with the lower ones remembered, from texts to the end of the epoch. Against length and labels: steps of LoRA
in every layer with the defaults. `check`: reading, duplicates, splitting and the data checks of so many rows. `full`:
steps of full fine-tuning, with the token embedding updated by row and whole. `long`: passes of a small ModernBERT
(4 layers of 128, random weights) over texts of so many tokens.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT, PICTURE = HERE / "results" / "scaling.json", HERE.parent / "docs" / "images" / "scaling.svg"
EXAMPLES = (1_000, 3_000, 10_000, 30_000, 100_000)
LENGTHS = (16, 32, 64, 128, 256, 512)
LABELS = (2, 10, 100, 300, 1_000, 3_000, 10_000)
ROWS = (10_000, 30_000, 100_000)
VOCABULARIES = (30_522, 250_002)  # of MiniLM, and of multilingual bases
LONG = (512, 2_048, 8_192)
WORDS = (
    "account bank card cash change code day fee help limit loan money name number pay phone rate sum tax year".split()
)
STEPS = 40
COLUMNS: dict[str, dict[int, tuple[int, int, int, str, int | None]]] = {  # examples, tokens, labels, layers, steps
    "by_examples": {n: (n, 16, 10, "top-2", None) for n in EXAMPLES},
    "by_length": {n: ((STEPS + 2) * 64, n, 10, "all", STEPS) for n in LENGTHS},
    "by_labels": {n: (max((STEPS + 2) * 64, 3 * n), 16, n, "all", STEPS) for n in LABELS},
}


def count_peak_mb() -> int:
    """Peak memory of this process."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def check_rows(pipe: Connection, rows: int) -> None:
    """`loratory check` without `suspects` on so many rows of twelve random words and twenty labels."""
    import tempfile

    import loratory

    chance = random.Random(1)
    words = ["".join(chance.choices("abcdefghiklmnoprstuvw", k=6)) for _ in range(5_000)]
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "rows.jsonl").open("w", encoding="utf-8") as file:
            for i in range(rows):
                row = {"text": " ".join(chance.choices(words, k=12)), "label": f"label {i % 20}"}
                file.write(json.dumps(row) + "\n")
        before, started = count_peak_mb(), time.perf_counter()
        task, data = {"kind": "classify"}, {"path": str(Path(folder) / "rows.jsonl"), "suspects": False}
        loratory.check({"name": "rows", "task": task, "data": data, "ladder": ["rules"]})
    seconds = round(time.perf_counter() - started, 1)
    pipe.send({"seconds": seconds, "peak_memory_mb": count_peak_mb(), "memory_before_mb": before})


def step_full(pipe: Connection, vocabulary: int, texts: int) -> None:
    """Steps of full fine-tuning of six layers of 384, texts of 16 tokens: milliseconds of each part (median).

    Two models take turns, one with its token embedding updated whole and one by row, so that both meet the same load.
    """
    steps = {name: make_full_steps(vocabulary, texts, lazy=name == "by_row") for name in ("whole", "by_row")}
    for _ in range(STEPS):
        for each in steps.values():
            next(each)
    pipe.send({name: next(each) for name, each in steps.items()})


def make_full_steps(vocabulary: int, texts: int, lazy: bool) -> Iterator[dict[str, float]]:
    """One step each time; yields the medians so far."""
    import torch
    import transformers

    from loratory.training import lazy_embeddings, optimizers

    shape: dict[str, Any] = {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1_536,
    }
    model: Any = transformers.BertModel(transformers.BertConfig(vocab_size=vocabulary, **shape))
    parameters, embedding = list(model.parameters()), model.get_input_embeddings()
    optimizer = optimizers.make_optimizer("adamw", [{"params": parameters, "lr": 1e-5}], "cpu")
    found = lazy_embeddings.make_lazy_embeddings({"words": embedding}, optimizer, allowed=lazy)
    times: dict[str, list[float]] = {part: [] for part in ("forward", "backward", "clip", "optimizer", "zero_grad")}
    while True:
        ids = torch.randint(1_000, 30_000, (texts, 16))
        clock = [time.perf_counter()]
        loss = model(input_ids=ids).last_hidden_state.square().mean()
        clock.append(time.perf_counter())
        loss.backward()
        clock.append(time.perf_counter())
        lazy_embeddings.clip_gradients(parameters, 1.0)
        clock.append(time.perf_counter())
        for one in found:
            one.step()
        optimizer.step()
        clock.append(time.perf_counter())
        optimizer.zero_grad(set_to_none=True)
        clock.append(time.perf_counter())
        for part, start, end in zip(times, clock, clock[1:], strict=False):
            times[part].append(1_000 * (end - start))
        medians = {f"{part}_ms": round(statistics.median(each[-STEPS:]), 1) for part, each in times.items()}
        yield {**medians, "step_ms": round(sum(medians.values()), 1)}


def step_long(pipe: Connection, tokens: int) -> None:
    """Forward and backward passes of a small ModernBERT over 8,192 tokens in micro-batches of one text each."""
    import torch
    import transformers

    ids = dict.fromkeys((f"{name}_token_id" for name in ("pad", "bos", "eos", "cls", "sep")), 1)
    shape: dict[str, Any] = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, **ids}
    config = transformers.ModernBertConfig(
        vocab_size=2_000, max_position_embeddings=LONG[-1], intermediate_size=256, **shape
    )
    model: Any = transformers.ModernBertModel(config)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(LONG[-1] // tokens):
            model(input_ids=torch.randint(4, 2_000, (1, tokens))).last_hidden_state.square().mean().backward()
        times.append(time.perf_counter() - started)
    pipe.send({"seconds": round(statistics.median(times), 2), "peak_memory_mb": count_peak_mb()})


class Enough(Exception):
    """As many steps as were asked for."""


def cost(pipe: Connection, examples: int, tokens: int, labels: int, layers: str, steps: int | None) -> None:
    """Train on random words; send examples/s, seconds in all and peak memory."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.experiment.environment import resolve_auto_options
    from loratory.protocols import Example, FitContext, TrainSet
    from loratory.protocols.events import FitEvent, StepFinished
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

    def report(event: FitEvent) -> None:
        if isinstance(event, StepFinished):
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


MORE: dict[str, dict[str, tuple[Callable[..., None], tuple[Any, ...]]]] = {  # what is measured, with what
    "check": {str(n): (check_rows, (n,)) for n in ROWS},
    "full": {f"{n}, {texts} texts": (step_full, (n, texts)) for n in VOCABULARIES for texts in (16, 64)},
    "long": {str(n): (step_long, (n,)) for n in LONG},
}


def measure(work: Callable[..., None], *settings: Any) -> dict[str, Any]:
    """Some work in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *settings))
    process.start()
    theirs.close()
    found: dict[str, Any] = mine.recv()
    process.join()
    print(work.__name__, settings, found, flush=True)
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
    from loratory.experiment.environment import describe_environment

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=(*COLUMNS, *MORE), help="the other columns keep their earlier figures")
    parser.add_argument("--draw", action="store_true", help="draw what was measured before")
    options = parser.parse_args()
    only = options.only
    if options.draw:
        draw(json.loads(RESULT.read_text(encoding="utf-8")))
        return
    result = json.loads(RESULT.read_text(encoding="utf-8")) if only else {}
    machine = describe_environment("cpu")
    result |= {} if only else {"machine": machine, "base": "minilm"}
    for name, points in COLUMNS.items():
        if only in (None, name):
            result[name] = {str(n): measure(cost, *settings) for n, settings in points.items()}
    for name, others in MORE.items():
        if only in (None, name):
            result[name] = {key: measure(work, *settings) for key, (work, settings) in others.items()}
            result[name]["machine"] = machine
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    draw(result)


if __name__ == "__main__":
    main()
