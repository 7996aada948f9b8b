"""Cross-validation by groups, and what a split by rows would have claimed of the same spec and data.

python benchmarks/folds.py SPEC --data FILE --group COLUMN [--folds 5] [--set KEY=VALUE] [--name NAME]

SPEC is a recipe or a YAML; FILE is JSON or JSONL with a row an object. Every row is tested once: folds are those of
GroupKFold over COLUMN (and KFold over shuffled rows), each fold a run with its own train and test file; validation is
cut from train by the spec, by groups. Scores of all contenders are kept for each fold, with their mean and its 95 %
interval over folds (Student's t with folds - 1 degrees of freedom; folds share training rows, so it is rather too
narrow). Writes results/folds-NAME.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

RESULT = Path(__file__).parent / "results"
Rows = list[dict[str, Any]]


def rows_of(file: Path) -> Rows:
    """The objects of a JSON array or of JSON lines."""
    text = file.read_text(encoding="utf-8")
    found: Rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(one) for one in text.splitlines()]
    return found


def folds(rows: Rows, group: str, count: int, by: str) -> Iterator[tuple[Rows, Rows]]:
    """Train and test rows of each fold."""
    from sklearn.model_selection import GroupKFold, KFold

    groups = [str(row[group]) for row in rows]
    chance = {"shuffle": True, "random_state": 1}
    cut: Any = GroupKFold(count, **chance) if by == "group" else KFold(count, **chance)
    for train, test in cut.split(rows, groups=groups):
        yield [rows[i] for i in train], [rows[i] for i in test]


def measure_fold(spec: str, train: Rows, test: Rows, changes: Sequence[str], folder: Path) -> dict[str, Any]:
    """One fold's run: every contender's scores."""
    from loratory.display.progress_screen import ProgressScreen
    from loratory.experiment.run import run_experiment
    from loratory.experiment.run_paths import RunPaths
    from loratory.experiment.spec_loading import load_spec

    (folder / "rows").mkdir(parents=True, exist_ok=True)
    for name, part in (("train", train), ("test", test)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in part)
        (folder / "rows" / f"{name}.jsonl").write_text(text, encoding="utf-8")
    made = load_spec(spec, str(folder / "rows"), changes)  # a folder with train and test files
    place = RunPaths.for_spec(made, folder / "run")
    with ProgressScreen() as screen:
        ladder = run_experiment(made, place, screen)
    machine = json.loads((place.folder / "environment.json").read_text(encoding="utf-8"))
    assert ladder["test"]["examples"] == len(test), "the fold's own test file is not what was answered"
    scores = {row["name"]: plain(row["metrics"]) for row in ladder["contenders"]}
    return {"scores": scores, "train": len(train), "test": len(test), "machine": machine}


def plain(metrics: dict[str, Any]) -> dict[str, float]:
    """The means over seeds of scores of the whole."""
    return {name: value["mean"] for name, value in metrics.items() if isinstance(value, dict) and "mean" in value}


def over_folds(each: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Mean and interval of every score of every contender, and its value in each fold."""
    from loratory.evaluation.statistics.intervals import compute_mean_interval

    found: dict[str, Any] = {}
    for name in each[0]:
        for score in each[0][name]:
            values = [fold[name][score] for fold in each]
            low, high = compute_mean_interval(values, 0.95)
            about = {"mean": fmean(values), "low": low, "high": high, "folds": values}
            found.setdefault(name, {})[score] = about
    return found


def main() -> None:
    """Run all folds of both ways, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--group", required=True)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--runs", type=Path, default=Path("runs/folds"), help="what is there is gone on with")
    parser.add_argument("--name", required=True)
    options = parser.parse_args()
    rows, result = rows_of(options.data), dict[str, Any]()
    for by in ("group", "row"):
        each = []
        for number, (train, test) in enumerate(folds(rows, options.group, options.folds, by), 1):
            each.append(
                measure_fold(options.spec, train, test, options.set, options.runs.absolute() / f"{by}-{number}")
            )
            print(by, number, {name: scores for name, scores in each[-1]["scores"].items()}, flush=True)
        result[f"by_{by}"] = over_folds([one["scores"] for one in each])
        result.setdefault("machine", each[0]["machine"])
    result |= {"rows": len(rows), "folds": options.folds, "group": options.group, "set": options.set}
    file = RESULT / f"folds-{options.name}.json"
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
