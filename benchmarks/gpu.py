"""LoRA on decoders of real shape with random weights, on a GPU: tokens/s and the share of the bf16 peak at 4N.

python benchmarks/gpu.py                        writes results/gpu.json; without a GPU it says there that it did not run
python benchmarks/gpu.py --shapes tiny --device cpu --steps 3 --output gpu.json         tries the script itself

Ours pads rows of like length, or packs them; beside it PEFT's own layer under autocast as transformers runs it, with
Liger's kernels where liger-kernel is installed, and trl's SFTTrainer where trl is. All train on the same rows.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from loratory.training.trainable_backbones import TrainableBackbone

RESULT = Path(__file__).parent / "results" / "gpu.json"
SHAPES: dict[str, dict[str, int]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "vocab_size": 512},
    "0.6B": {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16,
             "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936},
    "1.7B": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
             "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151_936},
}  # fmt: skip
RANK, ROWS, ANSWER = 16, 16, 32


class Ids:
    """Stands where a tokenizer stood: rows are made of ids."""

    limit, pad, separator = 4096, 0, None

    def encode(self, text: str, pair: str | None = None) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
        """Any token."""
        return (5,), ((0, 1),)


def rows(vocabulary: int, steps: int) -> list[list[tuple[int, ...]]]:
    """Steps of rows of like length, from 64 to 512 tokens."""
    chance = random.Random(1)
    made = []
    for _ in range(steps):
        longest = chance.choice([64, 128, 256, 512])
        made.append(
            [tuple(chance.choices(range(5, vocabulary), k=longest - chance.randint(0, 8))) for _ in range(ROWS)]
        )
    return made


def timed(step: Callable[[Sequence[tuple[int, ...]]], Any], steps: list[list[tuple[int, ...]]], device: str) -> float:
    """Real tokens a second, the first three steps left out."""
    import torch

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    warm = min(3, len(steps) - 1)
    for batch in steps[:warm]:
        step(batch)
    wait()
    started = time.perf_counter()
    for batch in steps[warm:]:
        step(batch)
    wait()
    return sum(len(row) for batch in steps[warm:] for row in batch) / (time.perf_counter() - started)


def whole_model(shape: str, device: str) -> Any:
    """A Qwen3 with random weights."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(1)
    options: dict[str, Any] = {**SHAPES[shape], "max_position_embeddings": 4096, "tie_word_embeddings": True}
    model: Any = Qwen3ForCausalLM(Qwen3Config(**options))
    return model.to(device)


def ours(shape: str, device: str, packed: bool) -> Callable[[Sequence[tuple[int, ...]]], Any]:
    """One step of Loratory's LoRA."""
    import torch

    from loratory.artifacts.verified_files import VerifiedFiles
    from loratory.backbones.forward.causal_backbone import create_backbone
    from loratory.backbones.loading.bases import Base
    from loratory.specs.training import LossSpec
    from loratory.training.causal import SftExample, compute_example_losses
    from loratory.training.trainable_backbones import ComputeConfig

    model = whole_model(shape, device)
    base = Base(shape, Path(), "causal", "last", shape, {}, VerifiedFiles(Path(), {}))
    backbone = create_backbone(model, Ids(), base, device)  # type: ignore[arg-type]
    targets, _ = backbone.find_target_modules()
    config = {"r": RANK, "lora_alpha": 2 * RANK, "lora_dropout": 0.0, "target_modules": list(targets)}
    live = TrainableBackbone(backbone, config, compute_config=ComputeConfig("bf16", "fused"))
    optimizer = torch.optim.AdamW(list(live.trainable_parameters().values()), fused=True)

    def step(batch: Sequence[tuple[int, ...]]) -> None:
        loss: Any = compute_example_losses(live, [SftExample(row, ANSWER) for row in batch], LossSpec(), packed).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def stock(shape: str, device: str, liger: bool) -> Callable[[Sequence[tuple[int, ...]]], Any]:
    """One step of PEFT under autocast, as transformers' own Trainer takes it."""
    import torch
    from peft import LoraConfig, get_peft_model

    model = whole_model(shape, device)
    if liger:
        from liger_kernel.transformers import apply_liger_kernel_to_qwen3

        apply_liger_kernel_to_qwen3(model=model)
    model = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)

    def step(batch: Sequence[tuple[int, ...]]) -> None:
        longest = max(map(len, batch))
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for i, row in enumerate(batch):
            ids[i, : len(row)], mask[i, : len(row)] = torch.tensor(row), 1
            labels[i, len(row) - ANSWER : len(row)] = torch.tensor(row[-ANSWER:])
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(
                input_ids=ids.to(device), attention_mask=mask.to(device), labels=labels.to(device), use_cache=False
            ).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def no_words() -> Any:
    """A tokenizer, which trl asks for though rows are made of ids; it takes the padding token from it."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    alone = Tokenizer(WordLevel({"[PAD]": 0}, unk_token="[PAD]"))
    return PreTrainedTokenizerFast(tokenizer_object=alone, pad_token="[PAD]")  # type: ignore[no-untyped-call]


def trl_rate(shape: str, device: str, steps: list[list[tuple[int, ...]]]) -> float:
    """Real tokens a second of trl's SFTTrainer on the same rows, its own time of training."""
    import tempfile

    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    flat = [list(row) for batch in steps for row in batch]
    masks = [[0] * (len(row) - ANSWER) + [1] * ANSWER for row in flat]
    data = Dataset.from_dict({"input_ids": flat, "completion_mask": masks})
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            folder, per_device_train_batch_size=ROWS, num_train_epochs=1, bf16=device == "cuda", max_length=None,
            use_cpu=device == "cpu", report_to=[], save_strategy="no", logging_strategy="no",
            gradient_checkpointing=False,
        )  # fmt: skip
        config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear")
        trainer = SFTTrainer(
            whole_model(shape, device), arguments, train_dataset=data, peft_config=config, processing_class=no_words()
        )
        seconds = trainer.train().metrics["train_runtime"]
    return sum(map(len, flat)) / float(seconds)


def contenders(shape: str, device: str, steps: list[list[tuple[int, ...]]]) -> Iterator[tuple[str, float | str]]:
    """Name and tokens/s of each, or why it did not run."""
    ways: dict[str, Callable[[], float]] = {
        "ours": lambda: timed(ours(shape, device, packed=False), steps, device),
        "ours, packed": lambda: timed(ours(shape, device, packed=True), steps, device),
        "peft": lambda: timed(stock(shape, device, liger=False), steps, device),
        "peft with liger": lambda: timed(stock(shape, device, liger=True), steps, device),
        "trl": lambda: trl_rate(shape, device, steps),
    }
    for name, work in ways.items():
        try:
            yield name, round(work(), 1)
        except ImportError as problem:
            yield name, f"did not run: {problem}"


def main() -> None:
    """Measure and write."""
    import torch

    from loratory.backbones.forward import hardware_benchmark
    from loratory.experiment.run import describe_environment

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", choices=tuple(SHAPES), default=["0.6B", "1.7B"])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--output", type=Path, default=RESULT)
    options = parser.parse_args()
    result: dict[str, Any] = {"machine": describe_environment(options.device), "ran": True}
    if options.device == "cuda" and not torch.cuda.is_available():
        result |= {"ran": False, "why": "no CUDA device was at hand"}
        print("did not run: there is no CUDA device")
    else:
        peak = hardware_benchmark.measure_hardware(options.device).gflops["bf16"]
        for shape in options.shapes:
            steps = rows(SHAPES[shape]["vocab_size"], options.steps)
            model = whole_model(shape, "cpu")
            matrix = sum(p.numel() for p in model.model.layers.parameters() if p.ndim == 2)
            found = dict(contenders(shape, options.device, steps))
            shares = {n: 4e-9 * matrix * rate / peak for n, rate in found.items() if not isinstance(rate, str)}
            result[shape] = {"tokens_per_second": found, "share_of_bf16_peak": shares, "matrix_weights": matrix}
            print(shape, found, flush=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
