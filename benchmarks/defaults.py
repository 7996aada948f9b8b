"""How the defaults of training are chosen: settings side by side on nine sets of labels, by validation alone.

python benchmarks/defaults.py --data FOLDER [--train 600] [--shots 5] [--seeds 1] [--settings NAME ...] [--sets NAME]

FOLDER holds the public sets (docs/defaults.md names them, their sources and their licences). Of each at most `--train`
texts train and 400 validate, drawn with the seed; rows of one group (a document, the same text) stay on one side. Test
parts are never read. With `--shots` at most so many texts of each label train. Each setting is compared with
`--baseline` on the same rows. Writes results/<processor>/defaults.json, with shots defaults-5.json.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from processors import describe_machine, result_file

VALIDATION = 400  # texts of each set
MIN_PER_LABEL = 2  # rarer labels are left out: they could not stand on both sides
Rows = Iterator[tuple[str, str, str]]  # text, label, group

# A setting: the regime, its options, what it changes of `training:`, and the regime that its fit starts from.
SETTINGS: dict[str, tuple[str, dict[str, Any], dict[str, Any], str | None]] = {
    "tfidf": ("tfidf", {}, {}, None),
    "prototype": ("prototype", {}, {}, None),
    "head": ("head", {}, {}, None),
    "head, no label names": ("head", {"label_names": 0.0}, {}, None),
    "lora": ("lora", {"layers": "all"}, {"epochs": 4}, None),
    "lora, default": ("lora", {}, {}, None),
    "lora, no label names": ("lora", {"label_names": 0.0}, {}, None),
    "lora, contrastive": ("lora", {"contrastive": {"epochs": 3}}, {}, None),
    "lora, top half": ("lora", {"layers": "top-3"}, {"epochs": 4}, None),
    "lora, top third": ("lora", {"layers": "top-2"}, {"epochs": 4}, None),
    "lora, top half, 2 epochs": ("lora", {"layers": "top-3"}, {"epochs": 2}, None),
    "lora, top half, 8 epochs": ("lora", {"layers": "top-3"}, {"epochs": 8}, None),
    "lora, top half, plateau": ("lora", {"layers": "top-3"}, {"epochs": 8, "schedule": "plateau"}, None),
    "lora, top half, from head": ("lora", {"layers": "top-3"}, {"epochs": 4}, "head"),
}


def read_lines(file: Path) -> Iterator[str]:
    """Lines of a text file, gzipped or not."""
    raw = gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")
    with raw, io.TextIOWrapper(raw, encoding="utf-8", newline="") as text:
        yield from text


def read_table(file: Path, text: str, label: str) -> Rows:
    """Two columns of a CSV file; a text is a group of its own."""
    for row in csv.DictReader(read_lines(file)):
        yield row[text], row[label], row[text]


def read_json_lines(file: Path, text: str, label: str) -> Rows:
    """Two fields of a file of JSON lines."""
    for line in read_lines(file):
        row = json.loads(line)
        yield row[text], str(row[label]), row[text]


def read_sms(data: Path) -> Rows:
    """Label, tab, message."""
    for line in read_lines(data / "sms_spam" / "SMSSpamCollection"):
        label, _, text = line.strip().partition("\t")
        yield text, label, text


def read_clauses(data: Path) -> Rows:
    """Sentences of terms of service, unfair where they carry a tag; a document is a group."""
    folder = data / "unfair_tos" / "corpus"
    for file in sorted((folder / "sentences" / "en" / "original").glob("*.txt")):
        sentences = list(read_lines(file))
        tags = list(read_lines(folder / "tags" / "en" / "original" / file.name))
        for sentence, tag in zip(sentences, tags, strict=False):
            yield sentence.strip(), "unfair" if tag.strip() else "fair", file.stem


def read_questions(data: Path) -> Rows:
    """Questions about tables, by the kind of their answer; those of one table are a group."""
    with gzip.open(data / "tatqa" / "tatqa_dataset_dev.json.gz", "rt", encoding="utf-8") as file:
        for number, table in enumerate(json.load(file)):
            for question in table["questions"]:
                yield question["question"], question["answer_type"], str(number)


def read_recipe(name: str) -> Rows:
    """The texts of a bundled recipe without its own test part; a family is a group."""
    from loratory.data.preparation import prepare_data
    from loratory.experiment.spec_loading import load_spec

    spec = load_spec(name, None, [])
    parts = prepare_data(spec.task, spec.data, spec.folder).parts
    for example in (*parts.train, *parts.validation):
        yield example.input["text"], example.answer["label"], example.group or example.input["text"]


SETS: dict[str, Callable[[Path], Rows]] = {
    "risk-triage": lambda data: read_recipe("risk-triage"),
    "intent-router": lambda data: read_recipe("intent-router"),
    "banking77": lambda data: read_table(data / "banking77" / "train.csv", "text", "category"),
    "bitext": lambda data: read_table(next((data / "bitext_llm_chatbot").glob("*.csv.gz")), "instruction", "intent"),
    "sms-spam": read_sms,
    "prompt-injections": lambda data: read_json_lines(
        data / "deepset_prompt_injections" / "train.jsonl", "text", "label"
    ),
    "unfair-tos": read_clauses,
    "mts-dialog": lambda data: read_table(
        data / "mts_dialog" / "MTS-Dialog-TrainingSet.csv.gz", "dialogue", "section_header"
    ),
    "tatqa": read_questions,
}


def keep_per_label(examples: list[Any], shots: int | None) -> list[Any]:
    """The first `shots` examples of each label, or all."""
    seen: dict[str, int] = {}
    kept = []
    for example in examples:
        label = example.answer["label"]
        seen[label] = seen.get(label, 0) + 1
        if shots is None or seen[label] <= shots:
            kept.append(example)
    return kept


def split_rows(rows: Rows, count: int, seed: int, shots: int | None = None) -> tuple[list[Any], list[Any]]:
    """Train and validation; groups are drawn, so none is on both sides."""
    from loratory.protocols import Example

    seen: dict[str, Any] = {}
    for number, (text, label, group) in enumerate(rows):
        if text.strip():
            seen.setdefault(text, (group, Example({"text": text}, {"label": label}, origin=f"row {number}")))
    counts: dict[str, int] = {}
    for _, example in seen.values():
        counts[example.answer["label"]] = counts.get(example.answer["label"], 0) + 1
    kept = [(g, e) for g, e in seen.values() if counts[e.answer["label"]] >= MIN_PER_LABEL]
    groups = sorted({group for group, _ in kept})
    random.Random(seed).shuffle(groups)
    order = {group: place for place, group in enumerate(groups)}
    validating, held = set[str](), 0
    for group in groups:
        if held >= VALIDATION:
            break
        validating.add(group)
        held += sum(1 for g, _ in kept if g == group) if len(groups) < len(kept) else 1
    kept.sort(key=lambda pair: order[pair[0]])
    validation = [e for g, e in kept if g in validating]
    train = [e for g, e in kept if g not in validating]
    random.Random(seed).shuffle(train)
    random.Random(seed).shuffle(validation)
    train = keep_per_label(train, shots)[:count]
    known = {e.answer["label"] for e in train}
    return train, [e for e in validation if e.answer["label"] in known][:VALIDATION]


class Suite:
    """One backbone and one machine; states of a set are kept until the next."""

    def __init__(self, data: Path, train: int, shots: int | None) -> None:
        from loratory.backbones.forward import hardware_benchmark
        from loratory.backbones.pool import TorchBackbonePool

        self.data, self.train, self.shots = data, train, shots
        self.hardware = hardware_benchmark.load_or_measure()
        self.backbone = TorchBackbonePool().get_base("minilm")

    def measure(self, name: str, settings: list[str], seed: int) -> dict[str, dict[str, float]]:
        """Validation accuracy and seconds of each setting on one set."""
        from loratory.backbones.forward.activation_cache import ActivationCache
        from loratory.backbones.forward.execution import run_locally
        from loratory.protocols import TrainSet
        from loratory.tasks.classify import Classify

        train, validation = split_rows(SETS[name](self.data), self.train, seed, self.shots)
        task = Classify().resolve_options(train)
        cache = ActivationCache(run_locally)
        found = {}
        for setting in settings:
            started = time.perf_counter()
            accuracy = self._fit(setting, task, TrainSet(tuple(train), tuple(validation)), cache, seed)
            found[setting] = {"accuracy": accuracy, "seconds": round(time.perf_counter() - started, 1)}
            print(f"  {name:18s} seed {seed}  {setting:28s} {accuracy:.4f}  {found[setting]['seconds']} s", flush=True)
        return found

    def _fit(self, setting: str, task: Any, train_set: Any, cache: Any, seed: int) -> float:
        from loratory.backbones.forward.execution import run_locally
        from loratory.discovery import load_named
        from loratory.experiment.environment import resolve_auto_options
        from loratory.protocols import FitContext, predict_and_score
        from loratory.specs.training import TrainingSpec
        from loratory.training.checkpoints import NoCheckpoints

        regime, options, training, start = SETTINGS[setting]
        spec = resolve_auto_options(TrainingSpec(**training), self.hardware)
        context = FitContext(seed, run_locally, NoCheckpoints(), cache, training=spec)
        begin: Any = None if regime == "tfidf" else self.backbone
        if start:
            begin = load_named("regimes", start)().fit(task, train_set, begin, context)
        fitted = load_named("regimes", regime)(**options).fit(task, train_set, begin, context)
        rows = predict_and_score(fitted, train_set.validation, run_locally)
        return float(round(task.summarise(rows.sum_counts())["accuracy"], 4))


def compare(found: dict[str, dict[str, dict[str, float]]], settings: list[str], baseline: str) -> dict[str, Any]:
    """Each setting against the baseline, over sets and seeds: mean difference in points, wins, losses, time."""
    out = {}
    for setting in settings:
        pairs = [(row[setting], row[baseline]) for row in found.values() if setting in row and baseline in row]
        gaps = [100 * (mine["accuracy"] - other["accuracy"]) for mine, other in pairs]
        out[setting] = {
            "mean_accuracy": round(100 * mean(mine["accuracy"] for mine, _ in pairs), 2),
            "difference": round(mean(gaps), 2),
            "better": sum(gap > 0 for gap in gaps),
            "worse": sum(gap < 0 for gap in gaps),
            "time_ratio": round(
                sum(mine["seconds"] for mine, _ in pairs) / sum(other["seconds"] for _, other in pairs), 2
            ),
        }
    return out


def main() -> None:
    """Measure, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--train", type=int, default=600)
    parser.add_argument("--shots", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS))
    parser.add_argument("--sets", nargs="*", default=list(SETS))
    parser.add_argument("--baseline", default="lora")
    asked = parser.parse_args()
    suite = Suite(asked.data, asked.train, asked.shots)
    found = {
        f"{name}, seed {seed}": suite.measure(name, asked.settings, seed)
        for name in asked.sets
        for seed in range(1, asked.seeds + 1)
    }
    facts = {
        "machine": describe_machine(),
        "train": asked.train,
        "shots": asked.shots,
        "validation": VALIDATION,
        "seeds": asked.seeds,
        "settings": {name: SETTINGS[name] for name in asked.settings},
        "compared_with": asked.baseline,
        "comparison": compare(found, asked.settings, asked.baseline),
        "sets": found,
    }
    file = result_file(f"defaults-{asked.shots}" if asked.shots else "defaults")
    file.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts["comparison"], indent=1))


if __name__ == "__main__":
    main()
