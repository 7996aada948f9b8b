"""Writing beside transformers' generate(), what holding to a schema costs, and training beside trl's SFTTrainer.

python benchmarks/generation.py [--base FOLDER] [--blocks 6]
python benchmarks/generation.py --quick                  tries the script itself on little, and prints what it found

FOLDER is a causal model; without one it is the embedded seedling. Contenders take turns in blocks. Writing: 16 prompts,
one at a time or all at once, greedy, in float32; equally many new tokens, but that a schema may end an answer sooner.
Training: LoRA of rank 16 on every projection, the same rows of ids with loss on the same tokens, 16 rows a step,
precision as this machine's `auto`. Only steps are timed; tokens are real ones, padding left out.
Writes results/generation.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

from training import Gate, reporting

RESULT = Path(__file__).parent / "results" / "generation.json"
LABELS = 8
SCHEMA = {
    "type": "object",
    "properties": {
        "label": {"enum": ["refund", "delivery", "complaint", "other"]},
        "amount": {"type": "integer", "minimum": 0, "maximum": 5000},
        "urgent": {"type": "boolean"},
        "reason": {"type": "string"},  # without bounds
    },
    "required": ["label", "amount", "urgent", "reason"],
    "additionalProperties": False,
}
PROMPTS, ROWS, RANK, ALPHA = 16, 16, 16, 32
TRAINING: dict[str, dict[str, Any]] = {
    "trl_defaults": {},
    "trl": {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length"},
    "trl_packed": {"gradient_checkpointing": False, "padding_free": True},
    "ours": {"packing": "off"},
    "ours_packed": {"packing": "on"},
}
# A block of trl is as long as the groups of length that it sorts in: a shorter one would see short rows alone, or long.
STEPS = {"trl_defaults": 15, "trl": 50, "trl_packed": 8, "ours": 50, "ours_packed": 8}


@dataclass(frozen=True)
class Size:
    """How much is done."""

    blocks: int
    new: int  # tokens to write
    prompt: tuple[int, int]  # tokens of a prompt, at least and at most
    examples: int  # to train on
    steps: Mapping[str, int]  # of a block of training


FULL = Size(6, 128, (32, 96), 3_200, STEPS)
QUICK = Size(2, 48, (8, 24), 160, dict.fromkeys(STEPS, 3))


# --- texts


def words(chance: random.Random, count: int) -> list[str]:
    """Made-up words of one to four syllables."""
    starts, ends = "b d f g k l m n p r s t v st tr".split(), "a e i o u an er is on al".split()
    made = (
        "".join(chance.choice(starts) + chance.choice(ends) for _ in range(chance.randint(1, 4))) for _ in "." * count
    )
    return sorted(set(made))


def sentences(chance: random.Random, known: Sequence[str], count: int, longest: int) -> list[str]:
    """Sentences of few common words and many rare ones."""
    odds = [1 / (rank + 1) for rank in range(len(known))]
    return [" ".join(chance.choices(known, odds, k=chance.randint(3, longest))) for _ in range(count)]


# --- writing


class Stopwatch:
    """Seconds that methods took, by name; what one calls of the others is in its own."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running = False

    def watch(self, owner: Any, name: str) -> None:
        """From now on, wherever the method is called."""
        plain = getattr(owner, name)

        def run(*arguments: Any) -> Any:
            if self._running:
                return plain(*arguments)
            self._running, started = True, time.perf_counter()
            try:
                return plain(*arguments)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - started
                self._running = False

        setattr(owner, name, run)


class Writing:
    """The same prompts for transformers and for Loratory, with and without a schema."""

    def __init__(self, base: Path, size: Size) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        from loratory.backbones.constraints import grammar
        from loratory.backbones.forward.causal_backbone import CausalBackbone
        from loratory.backbones.pool import TorchBackbonePool

        backbone = TorchBackbonePool().get_base(str(base))
        assert isinstance(backbone, CausalBackbone)
        self.backbone = backbone
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self.model.generation_config.eos_token_id = None  # nothing ends a text but its length
        self.end = self.backbone.tokenizer.tokenizer.eos_token_id
        chance, vocabulary = random.Random(2), backbone.create_scorer().lm_head.vocab_size
        lengths = [chance.randint(*size.prompt) for _ in range(PROMPTS)]
        special = set(self.backbone.tokenizer.tokenizer.all_special_ids)
        plain = [token for token in range(vocabulary) if token not in special]
        self.prompts = [tuple(chance.choices(plain, k=length)) for length in lengths]
        self.new, self.watch = size.new, Stopwatch()
        self.watch.watch(grammar.GrammarCompiler, "guide")
        for name in ("allowed", "takes", "fits", "forced"):
            self.watch.watch(grammar.TokenConstraint, name)

    def stock(self, prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """Transformers' generate; padding stands before the prompts."""
        import torch

        longest = max(map(len, prompts))
        ids = torch.tensor(
            [[self.backbone.tokenizer.pad_token_id] * (longest - len(row)) + list(row) for row in prompts]
        )
        mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts])
        with torch.inference_mode():
            options = {
                "max_new_tokens": self.new,
                "do_sample": False,
                "pad_token_id": self.backbone.tokenizer.pad_token_id,
            }
            found: list[list[int]] = self.model.generate(ids, attention_mask=mask, **options)[:, longest:].tolist()
        return found

    def ours(self, prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """Loratory, until the length is reached."""
        return self._write_answers(prompts, frozenset())

    def held(self, prompts: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """Loratory, to the schema; the end token is counted."""
        return [[*ids, self.end] for ids in self._write_answers(prompts, frozenset({self.end}), schema=SCHEMA)]

    def _write_answers(self, prompts: Sequence[tuple[int, ...]], ends: frozenset[int], **more: Any) -> list[list[int]]:
        from loratory.protocols import GenerateRequest, Network

        network = Network(self.backbone)
        return [
            list(w.ids)
            for w in self.backbone.generate([GenerateRequest(network, p, self.new, ends, **more) for p in prompts])
        ]

    def block(self, way: Callable[[Sequence[tuple[int, ...]]], list[list[int]]], batch: int) -> dict[str, Any]:
        """All prompts, `batch` at a time."""
        self.watch.seconds.clear()
        started = time.perf_counter()
        found = [ids for i in range(0, PROMPTS, batch) for ids in way(self.prompts[i : i + batch])]
        whole = time.perf_counter() - started
        return {"seconds": whole, "tokens": sum(map(len, found)), "found": found, "parts": dict(self.watch.seconds)}

    def measure(self, batch: int, count: int) -> dict[str, Any]:
        """Blocks in turn, and what comes of them."""
        ways = {"generate": self.stock, "ours": self.ours, "ours_held": self.held}
        for way in ways.values():
            way(self.prompts[:batch])
        blocks: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for number in range(count):
            for name, way in ways.items():
                blocks[name].append(self.block(way, batch))
                print(f"batch {batch}, block {number + 1} {name}: {rate(blocks[name][-1]):.0f} tokens/s", flush=True)
        pairs = zip(blocks["generate"][0]["found"], blocks["ours"][0]["found"], strict=True)
        return {
            **{name: rates(made) for name, made in blocks.items()},
            "ratio_to_generate": ratio(blocks["ours"], blocks["generate"]),
            "ratio_held_to_generate": ratio(blocks["ours_held"], blocks["generate"]),
            "ratio_held_to_free": ratio(blocks["ours_held"], blocks["ours"]),
            "texts_alike": sum(a == b for a, b in pairs) / PROMPTS,
            "grammar": shares(blocks["ours_held"]),
        }


def shares(blocks: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What of the time went into the grammar: making it, its masks, and keeping the end in reach."""
    whole = sum(block["seconds"] for block in blocks)
    named = {"making": ["guide"], "mask": ["allowed"], "fits": ["takes", "fits", "forced"]}
    found = {name: sum(b["parts"].get(key, 0.0) for b in blocks for key in keys) for name, keys in named.items()}
    tokens = sum(block["tokens"] for block in blocks)
    each = {f"{name}_microseconds_a_token": round(1e6 * spent / tokens, 1) for name, spent in found.items()}
    return {**each, "share_of_time": round(sum(found.values()) / whole, 4)}


def rate(block: Mapping[str, Any]) -> float:
    """Tokens a second."""
    return float(block["tokens"] / block["seconds"])


def rates(blocks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Tokens a second over all blocks, and of each."""
    whole = sum(b["tokens"] for b in blocks) / sum(b["seconds"] for b in blocks)
    return {"tokens_per_second": round(whole, 1), "blocks": [round(rate(block), 1) for block in blocks]}


def ratio(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]]) -> float:
    """The median over blocks of the rates side by side."""
    return round(float(median(rate(x) / rate(y) for x, y in zip(a, b, strict=True))), 2)


# --- training


def make_examples(count: int) -> tuple[Any, list[Any]]:
    """A task whose texts are made up, so that only the cost is measured."""
    from loratory.protocols import Example
    from loratory.tasks.classify import Classify

    chance = random.Random(3)
    known = words(chance, 4_000)
    labels = tuple(known[:: len(known) // LABELS][:LABELS])
    texts = sentences(chance, known, count, 60)
    return Classify(labels=labels), [Example({"text": t}, {"label": chance.choice(labels)}) for t in texts]


def precision() -> str:
    """What `auto` is on this machine."""
    from loratory.backbones.forward import hardware_benchmark

    return hardware_benchmark.load_or_measure().choose_precision()


def build_training_examples(backbone: Any, task: Any, examples: Sequence[Any]) -> list[Any]:
    """Prompts with their answers, as Loratory trains on them."""
    from loratory.predictors.decoder import Decoder
    from loratory.predictors.prompt_files import Prompt
    from loratory.protocols import Network
    from loratory.training.causal import build_sft_examples

    return build_sft_examples(Decoder(task, "labels", Network(backbone), Prompt.load(None, "labels"), 256), examples)


def ours(pipe: Connection, base: str, count: int, way: Mapping[str, Any]) -> None:
    """Loratory's own loop."""
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

    options = {"epochs": 1000, "batch_examples": ROWS, **way}
    training = resolve_auto_options(TrainingSpec(**options), hardware_benchmark.load_or_measure())
    backbone, (task, examples) = TorchBackbonePool().get_base(base), make_examples(count)
    lengths = [len(page.ids) for page in build_training_examples(backbone, task, examples)]
    steps = (
        [lengths[i] for part in batch for i in part]
        for epoch in range(training.epochs or 1)
        for batch in build_epoch_batches(lengths, training, 1, epoch)
    )
    report = reporting(Gate(pipe), steps, lambda: {"settings": training.model_dump()})
    context = FitContext(1, run_locally, NoCheckpoints(), ActivationCache(run_locally), training, report)
    Lora(rank=RANK, alpha=ALPHA).fit(task, TrainSet(examples, examples[:1]), backbone, context)


def stock(pipe: Connection, base: str, count: int, way: Mapping[str, Any]) -> None:
    """Trl's SFTTrainer with PEFT, on Loratory's ids."""
    from transformers import TrainerCallback

    gate, begun = Gate(pipe), False

    class Steps(TrainerCallback):
        def on_step_end(self, *arguments: Any, **options: Any) -> None:
            nonlocal begun
            if begun:
                gate.step()
            else:
                begun = True
                gate.ready({"settings": dict(way)})

    with tempfile.TemporaryDirectory() as folder:
        trainer = sft_trainer(base, count, way, folder)
        collate = trainer.data_collator

        def count_tokens(examples: list[dict[str, Any]]) -> Any:
            gate.count([len(example["input_ids"]) for example in examples])
            return collate(examples)

        trainer.data_collator = count_tokens
        trainer.add_callback(Steps())
        trainer.train()


def sft_trainer(base: str, count: int, way: Mapping[str, Any], folder: str) -> Any:
    """A trainer of the same rows."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from loratory.backbones.pool import TorchBackbonePool

    backbone, (task, examples) = TorchBackbonePool().get_base(base), make_examples(count)
    made = build_training_examples(backbone, task, examples)
    masks = [[0] * (len(page.ids) - page.loss_tokens) + [1] * page.loss_tokens for page in made]
    rows = Dataset.from_dict({"input_ids": [list(page.ids) for page in made], "completion_mask": masks})
    arguments = SFTConfig(
        folder, use_cpu=True, bf16=precision() == "bf16", report_to=[], disable_tqdm=True, save_strategy="no",
        logging_strategy="no", per_device_train_batch_size=ROWS, num_train_epochs=1000, max_length=None,
        completion_only_loss=True, **way,
    )  # fmt: skip
    targets, _ = backbone.find_target_modules()
    config = LoraConfig(task_type="CAUSAL_LM", r=RANK, lora_alpha=ALPHA, target_modules=list(targets))
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(base)
    return SFTTrainer(model, arguments, train_dataset=rows, processing_class=tokenizer, peft_config=config)


def train_contenders(base: str, size: Size, count: int) -> dict[str, Any]:
    """Start every contender, let each run a block in turn, and say what came of it."""
    context = multiprocessing.get_context("spawn")
    running, found = {}, {name: list[dict[str, Any]]() for name in TRAINING}
    settings = {}
    for name, way in TRAINING.items():
        mine, theirs = context.Pipe()
        work = stock if name.startswith("trl") else ours
        process = context.Process(target=work, args=(theirs, base, size.examples, way), daemon=True)
        process.start()
        theirs.close()
        settings[name], running[name] = mine.recv()["settings"], (process, mine)
        print(f"{name} is ready", flush=True)
    for number in range(count):
        for name, (_, pipe) in running.items():
            pipe.send(size.steps[name])
            found[name].append(pipe.recv())
            print(f"block {number + 1} {name}: {rate(found[name][-1]):.0f} tokens/s", flush=True)
    for process, pipe in running.values():
        pipe.send(0)
        process.join(10)
    return {
        **{name: {**rates(blocks), "peak_memory_mb": round(blocks[-1]["peak_memory_mb"]), "settings": settings[name]}
           for name, blocks in found.items()},
        "ratio_to_trl_defaults": ratio(found["ours"], found["trl_defaults"]),
        "ratio_to_trl": ratio(found["ours"], found["trl"]),
        "ratio_packed_to_trl_packed": ratio(found["ours_packed"], found["trl_packed"]),
        "ratio_to_trl_packed": ratio(found["ours"], found["trl_packed"]),
    }  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="a causal model's folder; without it the embedded seedling")
    parser.add_argument("--blocks", type=int, help="of each contender")
    parser.add_argument("--quick", action="store_true", help="little, to try the script; nothing is written")
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    from loratory.backbones.forward import hardware_benchmark
    from loratory.backbones.loading.bases import resolve_base
    from loratory.experiment.environment import describe_environment

    size = QUICK if options.quick else FULL
    count = options.blocks or size.blocks
    base = options.base or resolve_base("seedling").folder
    writing = Writing(base, size)
    result = {
        "machine": {
            **describe_environment("cpu"),
            "measured": asdict(
                hardware_benchmark.load_or_measure() if options.quick else hardware_benchmark.measure_hardware()
            ),
        },
        "base": {"name": base.name, "parameters": writing.backbone.count_parameters()},
        "writing": {f"batch_{batch}": writing.measure(batch, count) for batch in (1, PROMPTS)},
        "training": {"precision": precision(), **train_contenders(str(base), size, count)},
    }
    text = json.dumps(result, indent=1) + "\n"
    if options.quick:
        print(text)
    else:
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
