"""Ways around the count of test reads, runs in several sittings, disputed labels, and a machine that changes.

What is counted or promised here stands in docs/data.md.
"""

from __future__ import annotations

import math
import os
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any

from loratory.data.dataset import Dataset
from loratory.data.splitting import ledger
from loratory.data.splitting.splits import split_examples
from loratory.experiment import prepare
from loratory.experiment.inference import evaluate_on_data, stress_run
from loratory.experiment.steps import latency
from loratory.protocols import Example, Prediction
from loratory.specs.data import SplitSpec
from loratory.tasks.classify import Classify
from simulations.claims import Claim, claim_amount, claim_rate

WORDS = ("card", "refund", "login", "parcel", "price", "street", "lamp", "river", "ticket", "window", "stolen", "late")
TASK = Classify(labels=("a", "b"))


@contextmanager
def empty_ledger() -> Iterator[None]:
    """A ledger of its own, so that a simulation never touches the user's."""
    before = os.environ.get(ledger.LEDGER_VARIABLE)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[ledger.LEDGER_VARIABLE] = str(Path(folder) / "reads.sqlite")
        try:
            yield
        finally:
            os.environ.pop(ledger.LEDGER_VARIABLE)
            if before is not None:
                os.environ[ledger.LEDGER_VARIABLE] = before


# ---- ways around
def _examples(chance: random.Random, count: int) -> list[Example]:
    return [
        Example(
            {"text": f"{' '.join(chance.choices(WORDS, k=6))} {n}"}, {"label": chance.choice("ab")}, origin=f"f:{n}"
        )
        for n in range(count)
    ]


def _test(examples: Sequence[Example], seed: int) -> list[Example]:
    return list(split_examples(Dataset.of(TASK, examples), SplitSpec(test=0.2, validation=0.1, seed=seed)).test)


def _rewrite(chance: random.Random, text: str) -> str:
    """The same text as somebody else would store it."""
    ways: Sequence[Callable[[str], str]] = (
        str.upper,
        str.title,
        lambda text: f" {text} ",
        lambda text: text.replace(" ", "  "),
        lambda text: text.replace(" ", "\u00a0"),
        lambda text: f"{text}.",
        lambda text: f"\u201c{text}\u201d",
        lambda text: text.replace("e", "e\u200b"),
        lambda text: "".join(chr(ord(sign) + 0xFEE0) if "a" <= sign <= "z" else sign for sign in text),  # full width
    )
    for way in chance.sample(ways, 2):
        text = way(text)
    return text


def _rewritten(chance: random.Random, examples: Sequence[Example]) -> list[Example]:
    return [
        replace(e, input={"text": _rewrite(chance, e.input["text"])}, origin=f"g:{n}") for n, e in enumerate(examples)
    ]


def _relabelled(chance: random.Random, examples: Sequence[Example]) -> list[Example]:
    return [replace(e, answer={"label": chance.choice("ab")}) for e in examples]


WAYS: dict[str, Callable[[random.Random, Sequence[Example], Sequence[Example]], list[Example]]] = {
    "another seed of the split": lambda chance, everything, test: _test(everything, chance.randrange(10_000)),
    "the same rows in another folder": lambda chance, everything, test: list(test),
    "texts written otherwise": lambda chance, everything, test: _rewritten(chance, test),
    "rows in another order": lambda chance, everything, test: chance.sample(list(test), len(test)),
    "other labels": lambda chance, everything, test: _relabelled(chance, test),
    "half of the rows": lambda chance, everything, test: chance.sample(list(test), len(test) // 2),
    "more rows around them": lambda chance, everything, test: [*_examples(random.Random(-1), 50), *test],
}


@dataclass(frozen=True)
class _Shape:
    """As much of a predictor as noting a stress needs."""

    task: Classify = TASK


def _by_run(examples: Sequence[Example], number: int) -> None:
    look = ledger.TestReader("again", f"/runs/{number}", "run: lora", frozenset({"fit"}))
    ledger.record_read(look, ledger.compute_row_keys(Dataset.of(TASK, examples).texts))


def _by_evaluate(examples: Sequence[Example], number: int) -> None:
    evaluate_on_data.record_test_read(
        ledger.TestReader("by hand", f"/fits/{number}", "evaluate: file.csv"), Dataset.of(TASK, examples)
    )


def _by_stress(examples: Sequence[Example], number: int) -> None:
    shape: Any = _Shape()
    stress_run.record_stress_read(Path(f"/fits/{number}"), "stress: lora on file.csv", shape, examples)


READERS = {"a run": _by_run, "evaluate --data": _by_evaluate, "stress": _by_stress}


def ways_around(worlds: int) -> list[Claim]:
    """For each way to read test rows again: how often it is counted, with the overlap that it has in truth."""
    claims = []
    for way, change in WAYS.items():
        counted = []
        for world in range(worlds):
            chance = random.Random(f"{way}{world}")
            everything = _examples(chance, chance.randint(150, 400))
            first = _test(everything, 6)
            again = change(chance, everything, first)
            read = chance.choice(list(READERS.values()))
            with empty_ledger():
                read(again, world)
                keys = ledger.compute_row_keys(Dataset.of(TASK, first).texts)
                reads, overlap = ledger.count_reads(ledger.TestReader("first", "/runs/first", ""), keys)
            had = len({e.origin for e in first} & {e.origin for e in again}) / len(first)
            had = 1.0 if way == "texts written otherwise" else had
            told = overlap["largest"] if overlap else 0.0
            counted.append(reads == 2 and math.isclose(told, had))
        claims.append(claim_rate(f"a read is counted with its overlap: {way}", counted, 1.0, at_most=False))
    return claims


def in_sittings(worlds: int) -> Claim:
    """How often a run that is stopped again and again counts once, and a contender that is added counts once more."""
    right = []
    for world in range(worlds):
        chance = random.Random(world)
        keys = ledger.compute_row_keys([e.input["text"] for e in _examples(chance, 40)])
        fits = [f"fit-{n}" for n in range(chance.randint(1, 8))]
        with empty_ledger():
            left = list(fits)
            while left:
                ledger.record_read(ledger.TestReader("r", "/runs/r", "run", frozenset(left)), keys)
                left = left[chance.randint(0, len(left)) :]
            once = ledger.count_reads(ledger.TestReader("r", "/runs/r", "", frozenset(fits)), keys)[0]
            ledger.record_read(ledger.TestReader("r", "/runs/r", "run", frozenset({"added"})), keys)
            twice = ledger.count_reads(ledger.TestReader("r", "/runs/r", "", frozenset(fits)), keys)[0]
        right.append((once, twice) == (1, 2))
    return claim_rate("a run in several sittings counts once, an added contender once more", right, 1.0, at_most=False)


# ---- disputed labels
def _noisy(chance: random.Random) -> tuple[Classify, list[Example], set[str]]:
    """Texts whose topic is more or less plain, 3 to 10 % of their labels changed: task, examples, changed origins."""
    labels = [f"label {n}" for n in range(chance.randint(2, 6))]
    own = {label: [f"{chance.choice(WORDS)}{n}{m}" for m in range(12)] for n, label in enumerate(labels)}
    common = [f"{word}{n}" for word in WORDS for n in range(5)]
    plain, rate = chance.uniform(0.2, 0.6), chance.uniform(0.03, 0.1)  # share of telling words; of changed labels
    examples, changed = [], set()
    for n in range(chance.randint(80, 160)):
        true = chance.choice(labels)
        words = [chance.choice(own[true] if chance.random() < plain else common) for _ in range(10)]
        given = true
        if chance.random() < rate:
            given = chance.choice([label for label in labels if label != true])
            changed.add(f"f:{n}")
        examples.append(Example({"text": " ".join(words)}, {"label": given}, origin=f"f:{n}"))
    return Classify(labels=tuple(labels)), examples, changed


def disputed(worlds: int) -> Claim:
    """How often at least half of the disputed labels were changed ones, in so many worlds where they are shown."""
    right: list[bool] = []
    for world in count():
        if len(right) == worlds:
            break
        task, examples, changed = _noisy(random.Random(world))
        found = prepare.find_label_errors(Dataset.of(task, examples), 6)
        if found.is_useful and found.suspects:
            right.append(fmean(one.origin in changed for one in found.suspects) >= 0.5)
    return claim_rate("of the disputed labels that are shown at least half are wrong", right, 0.9, at_most=False)


# ---- latencies
class Changing:
    """A machine that becomes up to five times as fast while it works, with a spike now and then."""

    def __init__(self, chance: random.Random, calls: int) -> None:
        self.chance, self.calls, self.done, self.now = chance, calls, 0, 0.0
        self.faster, self.bend = chance.uniform(1.5, 5.0), chance.uniform(0.5, 3.0)

    def work(self) -> None:
        """One answer."""
        self.done += 1
        slow = self.faster + (1 - self.faster) * min(self.done / self.calls, 1.0) ** self.bend
        spike = 10.0 if self.chance.random() < 0.02 else 1.0
        self.now += 0.01 * slow * spike * self.chance.uniform(0.95, 1.05)

    def clock(self) -> float:
        """Seconds of this machine."""
        return self.now


@dataclass(frozen=True)
class _Equal:
    """A contender that costs what every other one costs."""

    machine: Changing
    task: Any = TASK

    def predict(self, inputs: Sequence[Any], run: Any) -> list[Prediction]:
        """Answers, and takes its time."""
        self.machine.work()
        return [Prediction({"label": "a"}) for _ in inputs]


def equal_latencies(worlds: int) -> Claim:
    """The largest relative difference of the median latency between contenders that cost the same."""
    apart = []
    for world in range(worlds):
        chance = random.Random(world)
        contenders, texts = chance.randint(2, 8), [{"text": "t"}] * 100
        machine = Changing(chance, contenders * len(texts))
        equal: dict[str, Any] = {str(n): _Equal(machine) for n in range(contenders)}
        found = latency.time_side_by_side(equal, texts, clock=machine.clock)
        medians = [one["p50"] for one in found.values()]
        apart.append(max(medians) / min(medians) - 1)
    name = "largest difference of median latency between equal contenders on a machine that speeds up to five times"
    return claim_amount(name, max(apart), 0.1, "share", worlds)


def claims(scale: float) -> Iterator[Claim]:
    """All of them; 400 worlds each at scale 1."""
    worlds = max(round(400 * scale), 10)
    yield from ways_around(worlds)
    yield in_sittings(worlds)
    yield disputed(worlds)
    yield equal_latencies(worlds)
