"""Answers of different lengths: whole batches of 16, and 16 rows that are filled again as soon as one ends.

python benchmarks/batching.py [--base FOLDER] [--blocks 6]
python benchmarks/batching.py --quick                    tries the script itself on little, and prints what it found

FOLDER is a causal model; without one it is the embedded seedling. Contenders write behind the same prompts in turns,
greedily, in float32. Answers end by chance: their lengths are drawn exponentially. `even` are batches of 16 answers of
one length, the mean of the others (the speed that they are measured by), `batches` writes 16 at a time to their ends,
`refilled` keeps 16 rows as long as there is anything to write. Writes results/batching.json.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

RESULT = Path(__file__).parent / "results" / "batching.json"
ROWS = 16


@dataclass(frozen=True)
class Size:
    """How much is done."""

    blocks: int
    requests: int  # a multiple of ROWS
    prompt: tuple[int, int]  # tokens, at least and at most
    answer: tuple[int, int]  # on average, and at most


FULL = Size(5, 160, (32, 96), (48, 256))
QUICK = Size(2, 32, (8, 24), (8, 24))


class Writing:
    """Requests of different lengths, and the ways to write them."""

    def __init__(self, base: Path, size: Size) -> None:
        from loratory.backbones.pool import TorchBackbonePool
        from loratory.protocols import GenerateRequest, Network

        self.trunk: Any = TorchBackbonePool().get_base(str(base))
        chance, vocabulary = random.Random(2), self.trunk.create_scorer().lm_head.vocab_size
        special = set(self.trunk.tokenizer.tokenizer.all_special_ids)
        plain = [token for token in range(vocabulary) if token not in special]
        prompts = [tuple(chance.choices(plain, k=chance.randint(*size.prompt))) for _ in range(size.requests)]
        mean, most = size.answer
        lengths = [min(1 + int(chance.expovariate(1 / mean)), most) for _ in prompts]
        network, ends = Network(self.trunk), frozenset[int]()
        self.requests = [GenerateRequest(network, p, n, ends) for p, n in zip(prompts, lengths, strict=True)]
        even = round(sum(lengths) / len(lengths))
        self.alike = [GenerateRequest(network, p, even, ends) for p in prompts]

    def even(self) -> list[Any]:
        """Whole batches of answers of one length, the mean of the others'."""
        return self._batches(self.alike)

    def batches(self) -> list[Any]:
        """Whole batches; a row that has ended is empty until half of them are."""
        return self._batches(self.requests)

    def _batches(self, requests: Sequence[Any]) -> list[Any]:
        return [one for i in range(0, len(requests), ROWS) for one in self.trunk.generate(requests[i : i + ROWS])]

    def refilled(self) -> list[Any]:
        """Who ends makes room for the next."""
        generator, sequences = (
            self.trunk.create_generator(),
            [self.trunk.create_sequence(request) for request in self.requests],
        )
        coming = list(sequences[::-1])
        while coming or not generator.is_done:
            room = ROWS - sum(sequence.is_active for sequence in generator.sequences)
            if coming and room:
                self.trunk.add_sequences(generator, [coming.pop() for _ in range(min(room, len(coming)))], True)
            generator.step()
        return [sequence.to_generation() for sequence in sequences]

    def block(self, way: Callable[[], list[Any]]) -> dict[str, Any]:
        """All of them, once."""
        started = time.perf_counter()
        found = way()
        seconds = time.perf_counter() - started
        return {"rate": sum(len(one.ids) for one in found) / seconds, "texts": [one.ids for one in found]}

    def measure(self, count: int) -> dict[str, Any]:
        """Blocks in turn, and what comes of them."""
        ways = {"even": self.even, "batches": self.batches, "refilled": self.refilled}
        for way in ways.values():
            way()
        blocks: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
        for number in range(count):
            for name, way in ways.items():
                blocks[name].append(self.block(way))
                print(f"block {number + 1} {name}: {blocks[name][-1]['rate']:.0f} tokens/s", flush=True)
        alike = zip(blocks["batches"][0]["texts"], blocks["refilled"][0]["texts"], strict=True)
        return {
            **{name: {"tokens_per_second": [round(block["rate"], 1) for block in made]}
               for name, made in blocks.items()},
            "ratio_batches_to_even": ratio(blocks["batches"], blocks["even"]),
            "ratio_refilled_to_even": ratio(blocks["refilled"], blocks["even"]),
            "ratio_refilled_to_batches": ratio(blocks["refilled"], blocks["batches"]),
            "texts_alike": sum(a == b for a, b in alike) / len(self.requests),
        }  # fmt: skip


def ratio(a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]]) -> float:
    """The median over blocks of the rates side by side."""
    return round(float(median(x["rate"] / y["rate"] for x, y in zip(a, b, strict=True))), 2)


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
    from loratory.experiment.run import describe_environment

    size = QUICK if options.quick else FULL
    base = options.base or resolve_base("seedling").folder
    writing = Writing(base, size)
    result = {
        "machine": {
            **describe_environment("cpu"),
            "measured": asdict(
                hardware_benchmark.load_or_measure() if options.quick else hardware_benchmark.measure_hardware()
            ),
        },
        "base": {"name": base.name, "parameters": writing.trunk.count_parameters()},
        "asked": {**asdict(size), "rows": ROWS},
        "writing": writing.measure(options.blocks or size.blocks),
    }
    text = json.dumps(result, indent=1) + "\n"
    if options.quick:
        print(text)
    else:
        options.output.parent.mkdir(exist_ok=True)
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
