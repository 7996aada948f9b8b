"""Texts out of scope: what an operating point turns away, near the intents and far from them.

python benchmarks/scope.py --data BANKING77-OOS [--set KEY=VALUE]

The folder is BANKING77-OOS of Zhang et al. (2022, "Are pretrained transformers robust in intent classification?"): 50
of banking77's intents are in scope, the others near and out of it (id-oos), other data sets far (ood-oos). Thresholds
and scores are chosen on its validation files; test files are measured once. Writes results/scope-banking77.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "scope-banking77.json"
SPEC: dict[str, Any] = {
    "name": "scope",
    "task": {"kind": "classify"},
    "data": {"path": "train.jsonl", "validation": "valid.jsonl", "test": "test.jsonl", "split": {"calibration": 0.1}},
    "ladder": ["tfidf", "prototype", "head", "lora"],
    "training": {"epochs": 5},
    "operating": {
        "abstain": {
            "out_of_scope": "out-valid.jsonl",
            "test": {"near": "near-test.jsonl", "far": "far-test.jsonl"},
        }
    },
}


def rows(folder: Path) -> list[dict[str, str]]:
    """Texts and labels of a part; empty lines are left out."""
    texts, labels = ((folder / name).read_text(encoding="utf-8").splitlines() for name in ("seq.in", "label"))
    pairs = zip(texts, labels, strict=True)
    return [{"text": text, "label": label} for text, label in pairs if text.strip()]


def prepare(data: Path, folder: Path) -> Path:
    """The files of the spec, and the spec."""

    def keep(name: str, found: list[dict[str, str]], labelled: bool = True) -> None:
        kept = found if labelled else [{"text": row["text"]} for row in found]
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")

    for part in ("train", "valid", "test"):
        keep(part, rows(data / part))
    keep("out-valid", [*rows(data / "id-oos" / "valid"), *rows(data / "ood-oos" / "valid")], labelled=False)
    keep("near-test", rows(data / "id-oos" / "test"), labelled=False)
    keep("far-test", rows(data / "ood-oos" / "test"), labelled=False)
    file = folder / "spec.yaml"
    file.write_text(json.dumps(SPEC), encoding="utf-8")  # JSON is YAML
    return file


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    options = parser.parse_args()
    from loratory.display.progress_screen import ProgressScreen
    from loratory.evaluation.ladder import format_ladder_lines, make_ladder_table
    from loratory.experiment.run import run_experiment
    from loratory.experiment.run_paths import RunPaths
    from loratory.experiment.spec_loading import load_spec

    with tempfile.TemporaryDirectory() as made:
        spec = load_spec(str(prepare(options.data, Path(made))), None, options.set)
        place = RunPaths.for_spec(spec, Path(made) / "run")
        with ProgressScreen() as screen:
            ladder = run_experiment(spec, place, screen)
        screen.console.print(make_ladder_table(ladder))
        print("\n".join(format_ladder_lines(ladder)))
        machine = json.loads((place.folder / "environment.json").read_text(encoding="utf-8"))
    found = {
        row["name"]: {
            "accuracy": row["metrics"]["accuracy"],
            "in_scope_f1": row["metrics"]["macro_f1"],
            "operating": row["operating"],
            "fitted": row["facts"]["operating"],
        }
        for row in ladder["contenders"]
    }
    result = {"machine": machine, "spec": SPEC, "set": options.set, "contenders": found}
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(RESULT)


if __name__ == "__main__":
    main()
