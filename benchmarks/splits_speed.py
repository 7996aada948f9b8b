"""How long grouping takes and what memory it needs, each case a process of its own, one thread.

python benchmarks/splits_speed.py      writes results/splits_speed.json

Cases: families of one template, random rows of a large vocabulary, and of a tiny one, which makes all of them alike.
`signatures` compares our MinHash with datasketch's on the same n-grams. Seconds are of the processor, so that other
work on the machine counts little.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import random
import resource
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "splits_speed.json"
CASES: dict[str, tuple[str, int]] = {
    "template, short": ("short, few words", 4_000),
    "template, middle": ("middle", 4_000),
    "template, long": ("long", 4_000),
    "random rows": ("", 200_000),
    "random rows of 14 words": ("tiny", 20_000),
}
TINY = "card money please transfer when never account why lost pin top up fee now".split()


def texts_of(kind: str, count: int) -> list[str]:
    """Made-up texts of one kind."""
    from simulations.splits import FRAMES, family, word

    chance = random.Random(6)
    if kind in FRAMES:
        return family(kind, count, chance)
    words = TINY if kind == "tiny" else [word(chance) for _ in range(3_000)]
    return [" ".join(chance.choices(words, k=chance.randint(6, 14))) for _ in range(count)]


def measure_grouping(pipe: Connection, kind: str, count: int) -> None:
    """Seconds and peak memory of `group`."""
    from loratory.data.splitting.groups import group_examples
    from loratory.protocols import Example

    texts = texts_of(kind, count)
    rows = [Example({"text": text}, {"label": "a"}, origin=f"made.csv:{line}") for line, text in enumerate(texts, 2)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    begin = time.process_time()
    found = group_examples(rows, texts, 0.85)
    seconds = time.process_time() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    pipe.send(
        {
            "rows": count,
            "seconds": round(seconds, 1),
            "peak_memory_mb": peak,
            "memory_before_mb": before,
            "groups": len(set(found.groups)),
        }
    )


def measure_signatures(pipe: Connection, kind: str, count: int) -> None:
    """Seconds of the MinHash signatures of `count` texts, ours and datasketch's, from the texts on."""
    import zlib

    from datasketch import MinHash

    from loratory.data.splitting.similarity import PERMUTATIONS, compute_minhash, hash_ngrams

    texts = texts_of(kind, count)
    begin = time.process_time()
    compute_minhash(hash_ngrams(texts, 3), 6)
    ours = time.process_time() - begin
    begin = time.process_time()
    hashes = ([zlib.crc32(text[at : at + 3].encode()) for at in range(len(text) - 2)] for text in texts)
    MinHash.bulk(hashes, num_perm=PERMUTATIONS, seed=6, hashfunc=int)
    theirs = time.process_time() - begin
    pipe.send({"rows": count, "ours": round(ours, 1), "datasketch": round(theirs, 1)})


def measure_target(target: Any, kind: str, count: int) -> dict[str, Any]:
    """`target` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    mine, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, kind, count))
    process.start()
    theirs.close()
    found: dict[str, Any] = mine.recv()
    process.join()
    print(target.__name__, kind, found, flush=True)
    return found


def main() -> None:
    """Measure and write."""
    from loratory.backbones.forward.hardware_benchmark import processor_name

    result = {
        "machine": {"processor": processor_name(), "cores": os.cpu_count(), "python": platform.python_version()},
        "grouping": {name: measure_target(measure_grouping, *case) for name, case in CASES.items()},
        "signatures": measure_target(measure_signatures, "", 20_000),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    main()
