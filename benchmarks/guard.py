"""A guard on sources that it never saw: recall at a budget of false positives, for every contender of a run.

python benchmarks/guard.py RUN --benign FILE[:COLUMN] ... --attacks FILE[:COLUMN] ... [--label jailbreak] [--name NAME]

RUN is a finished run of `loratory run prompt-guard`. Files are whole sources: nothing of them was learnt from. At each
budget the threshold is the lowest that keeps the share of benign texts above it within the budget, over all benign
sources together; recall is given for each source of attacks and for all, with exact 95 % intervals over texts
(Clopper and Pearson). Writes results/guard-NAME.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

RESULT = Path(__file__).parent / "results"
BUDGETS = (0.01, 0.03)


def texts_of(task: Any, named: str, most: int) -> list[Any]:
    """Inputs of FILE or FILE:COLUMN, the first `most` of them."""
    from loratory.experiment.inference.local_prediction import read_input_file

    file, _, column = named.partition(":")
    return read_input_file(task, Path(file), [column] if column else ())[:most]


def shares(predictor: Any, inputs: Sequence[Any], label: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The probability of the label, for each input."""
    from loratory.experiment.inference.local_prediction import predict_batches

    return np.array([made.probabilities["/label"][label] for _, made in predict_batches(predictor, inputs)])


def recall_at(benign: Any, attacks: Any, budget: float) -> dict[str, float]:
    """Recall of attacks where no more than this share of benign texts is called one."""
    from loratory.evaluation.statistics.intervals import compute_share_interval
    from loratory.evaluation.statistics.proportions import estimate_proportion

    allowed = int(budget * len(benign))
    threshold = float(np.sort(benign)[::-1][allowed])  # what lies above it is at most `allowed`
    found = estimate_proportion((attacks > threshold).astype(float), np.ones(len(attacks)), np.arange(len(attacks)))
    low, high = compute_share_interval(found, 0.95)
    share = {"recall": found.value, "low": low, "high": high}
    return {**share, "n": len(attacks), "threshold": threshold, "false_positives": float((benign > threshold).mean())}


def measure_contender(run: Path, contender: str, options: Any) -> dict[str, Any]:
    """One contender on all sources."""
    from loratory.experiment.artifact_lookup import open_predictor

    predictor, _ = open_predictor(run, contender)
    kinds = {"benign": options.benign, "attacks": options.attacks}
    found = {
        kind: {name: shares(predictor, texts_of(predictor.task, name, options.most), options.label) for name in names}
        for kind, names in kinds.items()
    }
    benign, attacks = (np.concatenate(list(found[kind].values())) for kind in kinds)
    likeliest = {Path(name).name: float((each > 0.5).mean()) for name, each in found["benign"].items()}
    about: dict[str, Any] = {"benign": len(benign), "called_attacks_at_half": likeliest}
    for budget in BUDGETS:
        each = {Path(name).name: recall_at(benign, own, budget) for name, own in found["attacks"].items()}
        about[f"at_{budget:g}"] = {"all": recall_at(benign, attacks, budget), **each}
    return about


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--benign", action="append", required=True)
    parser.add_argument("--attacks", action="append", required=True)
    parser.add_argument("--label", default="jailbreak")
    parser.add_argument("--most", type=int, default=2000, help="texts of a source, at most")
    parser.add_argument("--name", default="prompt-guard")
    options = parser.parse_args()
    ladder = json.loads((options.run / "ladder.json").read_text(encoding="utf-8"))
    names = [row["name"] for row in ladder["contenders"] if row["status"] == "fitted"]
    result: dict[str, Any] = {"machine": json.loads((options.run / "environment.json").read_text(encoding="utf-8"))}
    for name in names:
        result[name] = measure_contender(options.run, name, options)
        print(name, json.dumps(result[name]), flush=True)
    file = RESULT / f"guard-{options.name}.json"
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
