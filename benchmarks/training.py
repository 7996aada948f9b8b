"""Training speed beside the stock Trainer, in one run: each contender in its own process, blocks of steps in turn.

python benchmarks/training.py --data FOLDER [--blocks 6] [--reach 0.922]      FOLDER: banking77's train.csv and test.csv

Contenders train the same base (all-MiniLM-L6-v2), rank 16 in every linear layer, about 64 examples a step, on the same
texts. Only steps are timed: loading, tokenising and validation are not; what caching costs is, as its own figure.
`--reach` also trains to a validation accuracy and takes the time from the first line of code on. Writes
results/<processor>/training.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any

from processors import describe_machine, has_bf16, result_file

from loratory.protocols.events import FitEvent, StepFinished

# A block of stock_best is as long as the groups of length that the Trainer sorts in: a shorter one would see short rows
# alone, or long ones.
BATCH, RANK, ALPHA = 64, 16, 32
TARGETS = ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"]
CACHED_EPOCHS = 8
STEPS = {"stock_defaults": 5, "stock_best": 50, "ours": 60, "ours_top2": 120, "ours_peft": 50}  # of one block


@dataclass
class Gate:
    """Lets a worker run so many steps, then waits for the next block."""

    pipe: Connection
    left: int = 0
    started: float = 0.0
    examples: int = 0
    tokens: int = 0

    def ready(self, facts: Mapping[str, Any]) -> None:
        """Everything is loaded."""
        self.pipe.send(dict(facts))
        self._wait()

    def count(self, lengths: Sequence[int]) -> None:
        """What goes into the step that comes."""
        self.examples, self.tokens = self.examples + len(lengths), self.tokens + sum(lengths)

    def step(self) -> None:
        """A step is done."""
        self.left -= 1
        if self.left == 0:
            seconds = time.perf_counter() - self.started
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            self.pipe.send(
                {"seconds": seconds, "examples": self.examples, "tokens": self.tokens, "peak_memory_mb": peak}
            )
            self._wait()

    def _wait(self) -> None:
        self.left = int(self.pipe.recv())
        if not self.left:
            raise SystemExit
        self.examples = self.tokens = 0
        self.started = time.perf_counter()


def reporting(
    gate: Gate, steps: Iterator[Sequence[int]], facts: Callable[[], Mapping[str, Any]]
) -> Callable[[FitEvent], None]:
    """What our loop reports to: the first step warms up, then the gate is ready. `steps`: lengths of its rows."""
    begun = False

    def report(event: FitEvent) -> None:
        nonlocal begun
        if not isinstance(event, StepFinished):
            return
        if begun:
            gate.step()
        else:
            begun = True
            next(steps)
            gate.ready(facts())
        gate.count(next(steps))

    return report


def prepare_data(data: str) -> Any:
    """Banking77's recipe on this data: a task and its parts."""
    from loratory.data.preparation import prepare_data
    from loratory.experiment.spec_loading import load_spec

    spec = load_spec("banking77", data, [])
    return prepare_data(spec.task, spec.data, spec.folder)


def ours(pipe: Connection, data: str, settings: Mapping[str, Any]) -> None:
    """Loratory's own loop with its defaults, or with what `settings` changes."""
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.forward.activation_cache import ActivationCache
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.experiment.environment import resolve_auto_options
    from loratory.protocols import FitContext, TrainSet
    from loratory.regimes.lora import Lora
    from loratory.specs.training import TrainingSpec
    from loratory.training.batching import build_epoch_batches
    from loratory.training.checkpoints import NoCheckpoints

    ready = prepare_data(data)
    training = resolve_auto_options(
        TrainingSpec(epochs=1000, **settings.get("training", {})), hardware_benchmark.load_or_measure()
    )
    regime = Lora(**settings.get("lora", {}))
    backbone = TorchBackbonePool().get_base("minilm")
    gate, remembered = Gate(pipe), ActivationCache(run_locally)
    task, train = ready.task, ready.parts.train
    rows = backbone.tokenizer.encode_batch([task.text(e.input) for e in train], training.max_tokens)
    lengths = [len(ids) for ids, _ in rows]
    caching = Caching(remembered)
    steps = (
        [lengths[i] for part in batch for i in part]
        for epoch in range(training.epochs or 1)
        for batch in build_epoch_batches(lengths, training, 1, epoch)
    )

    def facts() -> dict[str, Any]:
        about = {"lora": regime.model_dump(), "training": training.model_dump(), "examples": len(train)}
        return {"settings": about, "caching_seconds": caching.seconds}

    report = reporting(gate, steps, facts)
    train_set = TrainSet(train, ready.parts.validation[:1])
    regime.fit(
        task,
        train_set,
        backbone,
        FitContext(
            1,
            run_locally,
            NoCheckpoints(),
            caching,
            report=report,
            training=training,
            should_stop=lambda: False,
            device="cpu",
        ),
    )


class Caching:
    """ActivationCache states, with the seconds that the lower layers took."""

    def __init__(self, remembered: Any) -> None:
        self._remembered, self.seconds = remembered, 0.0

    def compute_pooled(self, *arguments: Any) -> Any:
        """As it is."""
        return self._remembered.compute_pooled(*arguments)

    def lookup_layer_inputs(self, *arguments: Any) -> Any:
        """Timed."""
        started = time.perf_counter()
        found = self._remembered.lookup_layer_inputs(*arguments)
        self.seconds += time.perf_counter() - started
        return found


def stock(pipe: Connection, data: str, settings: Mapping[str, Any]) -> None:
    """The Trainer of transformers on a PEFT model, as its documentation shows it."""
    import tempfile

    from transformers import TrainerCallback

    ready = prepare_data(data)
    gate = Gate(pipe)
    begun = False

    class Steps(TrainerCallback):
        def on_step_end(self, *arguments: Any, **options: Any) -> None:
            nonlocal begun
            if begun:
                gate.step()
            else:
                begun = True
                gate.ready({"settings": dict(settings), "caching_seconds": 0.0})

    with tempfile.TemporaryDirectory() as folder:
        trainer = stock_trainer(ready, settings, folder, gate.count)
        trainer.add_callback(Steps())
        trainer.train()


def stock_trainer(ready: Any, settings: Mapping[str, Any], folder: str, count: Callable[[Sequence[int]], None]) -> Any:
    """A Trainer for the prepared data; `count` hears the lengths of every batch."""
    import datasets
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
        set_seed,
    )

    from loratory.backbones.loading.bases import resolve_base

    set_seed(1)
    base, task = str(resolve_base("minilm").folder), ready.task
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=len(task.labels), **settings.get("model", {})
    )
    config = LoraConfig(task_type="SEQ_CLS", r=RANK, lora_alpha=ALPHA, target_modules=TARGETS)

    def rows(part: Sequence[Any]) -> Any:
        texts = [task.text(e.input) for e in part]
        made = tokenizer(texts, truncation=True, max_length=256)
        labels = [task.labels.index(task.label_of(e.answer)) for e in part]
        return datasets.Dataset.from_dict({**made, "labels": labels})

    pad = DataCollatorWithPadding(tokenizer)

    def collate(examples: list[dict[str, Any]]) -> Any:
        count([len(example["input_ids"]) for example in examples])
        return pad(examples)

    arguments = TrainingArguments(
        folder,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        per_device_train_batch_size=BATCH,
        **{"num_train_epochs": 1000, **settings.get("arguments", {})},
    )
    train, validation = rows(ready.parts.train), rows(ready.parts.validation)
    peft_model = get_peft_model(model, config)
    return Trainer(peft_model, arguments, train_dataset=train, eval_dataset=validation, data_collator=collate)


BEST: dict[str, dict[str, Any]] = {
    # bf16 where the processor has it: elsewhere it is emulated, and a step takes minutes
    "arguments": {"train_sampling_strategy": "group_by_length", "bf16": has_bf16()},
    "model": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}
CONTENDERS: dict[str, tuple[Callable[..., None], dict[str, Any]]] = {
    "stock_defaults": (stock, {}),
    "stock_best": (stock, BEST),
    "ours": (ours, {"lora": {"layers": "all"}}),
    "ours_top2": (ours, {"lora": {"layers": "top-2"}}),
    "ours_peft": (ours, {"lora": {"layers": "all"}, "training": {"product": "peft"}}),
}


def blocks(data: str, count: int) -> dict[str, dict[str, Any]]:
    """Start every contender, then let each run a block in turn, `count` times."""
    context = multiprocessing.get_context("spawn")
    found: dict[str, dict[str, Any]] = {}
    running = {}
    for name, (work, settings) in CONTENDERS.items():
        mine, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, data, settings), daemon=True)
        process.start()
        found[name] = {**mine.recv(), "blocks": []}
        running[name] = (process, mine)
        print(f"{name} is ready", flush=True)
    for number in range(count):
        for name, (_, pipe) in running.items():
            pipe.send(STEPS[name])
            block = pipe.recv()
            found[name]["blocks"].append(block)
            print(f"block {number + 1} {name}: {block['examples'] / block['seconds']:.1f} examples/s", flush=True)
    for process, pipe in running.values():
        pipe.send(0)
        process.join(10)
    return found


def weights(data: str) -> int:
    """Matrix weights of the base's layers: what a token meets."""
    from torch import nn

    from loratory.backbones.forward.architectures import find_layers
    from loratory.backbones.pool import TorchBackbonePool

    backbone = TorchBackbonePool().get_base("minilm")
    _, layers = find_layers(backbone.model, backbone.depth)
    return sum(part.weight.numel() for part in layers.modules() if isinstance(part, nn.Linear))


def summary(found: dict[str, dict[str, Any]], matrix: int, peaks: Mapping[str, float]) -> dict[str, Any]:
    """Rates, shares and ratios; a ratio is the median over blocks of the rates side by side."""
    rates = {name: [b["examples"] / b["seconds"] for b in one["blocks"]] for name, one in found.items()}
    out: dict[str, Any] = {}
    for name, one in found.items():
        seconds, tokens = (sum(b[key] for b in one["blocks"]) for key in ("seconds", "tokens"))
        useful = 4e-9 * matrix * tokens / seconds if name != "ours_top2" else None
        out[name] = {
            "examples_per_second": round(sum(b["examples"] for b in one["blocks"]) / seconds, 1),
            "blocks": [round(rate, 1) for rate in rates[name]],
            "tokens_per_second": round(tokens / seconds),
            "useful_gflops": useful and round(useful, 1),
            "peak_memory_mb": round(one["blocks"][-1]["peak_memory_mb"]),
            "settings": one["settings"],
        }

    def ratio(a: str, b: str) -> float:
        return round(float(median(x / y for x, y in zip(rates[a], rates[b], strict=True))), 2)

    texts = found["ours_top2"]["settings"]["examples"]
    caching = found["ours_top2"]["caching_seconds"]
    whole = CACHED_EPOCHS * texts / (caching + CACHED_EPOCHS * texts / out["ours_top2"]["examples_per_second"])
    out["ours_top2"] |= {
        "caching_seconds": round(caching, 2),
        f"with_caching_over_{CACHED_EPOCHS}_epochs": round(whole, 1),
    }
    return {
        **out,
        "ratio_to_stock_defaults": ratio("ours", "stock_defaults"),
        "ratio_to_stock_best": ratio("ours", "stock_best"),
        "ratio_to_pefts_layer": ratio("ours", "ours_peft"),
        "share_of_bf16_peak": round(out["ours"]["useful_gflops"] / peaks["bf16"], 3),
        "share_of_fp32_peak": round(out["ours"]["useful_gflops"] / peaks["fp32"], 3),
        "cached_ratio_to_stock_defaults": round(whole / out["stock_defaults"]["examples_per_second"], 1),
        "matrix_weights": matrix,
        "peak_gflops": dict(peaks),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--blocks", type=int, default=6)
    options = parser.parse_args()
    found = blocks(options.data, options.blocks)
    from loratory.backbones.forward import hardware_benchmark
    from loratory.experiment.environment import describe_environment

    machine = hardware_benchmark.measure_hardware()
    result = {
        "machine": {**describe_machine(), **describe_environment("cpu"), "measured": asdict(machine)},
        "task": "banking77, its official train set less validation and calibration",
        "batch": f"{BATCH} examples (stock), 1,024 padded tokens (ours): about as many",
        **summary(found, weights(options.data), machine.gflops),
    }
    result_file("training").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print({key: value for key, value in result.items() if "ratio" in key or "share" in key})


if __name__ == "__main__":
    main()
