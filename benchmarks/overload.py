"""Overload: what a server answers when three and ten times as much is asked of it as it can do.

python benchmarks/overload.py RUN --test FILE [--seconds 10] [--texts 64] [--deadline 1000]

RUN has a LoRA contender and tfidf; FILE is its labelled test file. The server has one core and the generator the other.
The peak is the best rate of answers of an open-loop ramp. Then so many times the peak is offered, with and without
tfidf as a fallback, which computes in a process of its own or in the server's threads: goodput counts answers with 200,
latency from when a request was due. `recovery_s` is how long it takes after the last request until one is answered
within its deadline again. Writes results/<processor>/overload.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path
from typing import Any

from load import Ledger, post, send
from processors import describe_machine, result_file
from serving import Rival, resident, rows_of, running

VARIANTS = {"alone": None, "with tfidf": "process", "with tfidf in threads": "thread"}
DOCUMENTED = {"200", "429", "503", "504"}
TIMES = (3.0, 10.0)
STEP = 1.25  # from one offered rate of the ramp to the next


def server(run: Path, name: str, deadline: float, texts: list[str], each: int) -> Rival:
    """Ours on one core; request n asks for `each` texts from place n on."""
    own = ["--set", f"tasks.task={{path: {run.resolve()}, contender: lora, deadline_ms: {deadline}"]
    isolation = VARIANTS[name]
    own[1] += ", fallback: [tfidf]}" if isolation else ", fallback: []}"
    own += ["--set", f"isolation={isolation}"] if isolation else []
    command = ["taskset", "-c", "0", "python", "-m", "loratory", "serve", "--port", "PORT", "--set", "threads=1", *own]

    def ask(_: str, number: int, port: int) -> bytes:
        chosen = random.Random(number).sample(texts, each)
        return post("/v1/tasks/task/predict", json.dumps({"inputs": chosen, "probabilities": False}).encode(), port)

    return Rival(name, command, ask, lambda body: None)


def offer_load(rival: Rival, rate: float, seconds: float, port: int, start: int = 0) -> Ledger:
    """So many requests a second, over connections that are kept."""
    requests = [rival.ask("", start + number, port) for number in range(int(rate * seconds))]
    return send(port, requests, rate, most=1024, patience=30)


def peak(rival: Rival, port: int, begin: float, seconds: float) -> float:
    """Answers a second, at the best of the rates until more is offered in vain."""
    rate, best = begin, 0.0
    while True:
        made = offer_load(rival, rate, seconds, port)
        best = max(best, made.good / max(made.ended, seconds))
        if made.good < 0.8 * rate * seconds:
            return best
        rate *= STEP


def recovery(rival: Rival, port: int, deadline: float) -> float:
    """Seconds until a request is answered within its deadline."""
    started = time.perf_counter()
    while True:
        made = offer_load(rival, 20, 0.05, port)
        if made.good and made.quantile(1.0) <= deadline:
            return time.perf_counter() - started - made.ended


def measure_server(rival: Rival, seconds: float, deadline: float) -> dict[str, Any]:
    """One server, from its peak to its recovery."""
    with running(rival) as (port, pid):
        offer_load(rival, 10, 2, port)
        best = peak(rival, port, 8, min(seconds, 4))
        memory = resident(pid)
        told: dict[str, Any] = {"peak": round(best, 1), "memory_mib": round(memory)}
        for times in TIMES:
            made = offer_load(rival, times * best, seconds, port)
            again = recovery(rival, port, deadline)
            told[f"{times:g}x"] = {
                "statuses": dict(sorted(made.statuses.items())),
                "undocumented": sorted(set(made.statuses) - DOCUMENTED),
                "goodput_over_peak": round(made.good / max(made.ended, seconds) / best, 3),
                "accepted_p50_ms": round(made.quantile(0.5), 1),
                "accepted_p99_ms": round(made.quantile(0.99), 1),
                "generator_behind_ms": round(made.behind * 1000, 1),
                "longest_ms": round(made.quantile(1.0), 1),
                "recovery_s": round(again, 2),
                "memory_grown_mib": round(resident(pid) - memory),
            }
            print(rival.name, f"{times:g}x", told[f"{times:g}x"], flush=True)
    return told


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=10.0, help="of overload, each time")
    parser.add_argument("--texts", type=int, default=64, help="in a request")
    parser.add_argument("--deadline", type=float, default=1000.0, help="milliseconds")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {1})
    texts = [text for text, _ in rows_of(asked.test)]
    found = {}
    for name in VARIANTS:
        rival = server(asked.run, name, asked.deadline, texts, asked.texts)
        found[rival.name] = measure_server(rival, asked.seconds, asked.deadline)
    result = {
        "machine": describe_machine(),
        "deadline_ms": asked.deadline,
        "texts_in_a_request": asked.texts,
        "seconds": asked.seconds,
        **found,
    }
    file = result_file("overload")
    file.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
