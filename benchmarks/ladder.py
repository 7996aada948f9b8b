"""Run specs whole and keep their ladders as JSON with the machine: the figures that README and docs quote.

python benchmarks/ladder.py risk-triage                        the recipe with its own data
python benchmarks/ladder.py banking77 --data FOLDER            other data; --set KEY=VALUE as for loratory run
A run that is there already (in --runs) is gone on with, so a second call only writes the result again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from loratory.display.progress_screen import ProgressScreen
from loratory.evaluation.ladder import make_ladder_table
from loratory.experiment.run import run_experiment
from loratory.experiment.run_paths import RunPaths
from loratory.experiment.spec_loading import load_spec

RESULTS = Path(__file__).parent / "results"
KEPT = ("name", "regime", "base", "seeds", "status", "train_seconds", "latency_ms", "parameters", "size_bytes")


def summary(ladder: dict[str, Any], environment: dict[str, Any]) -> dict[str, Any]:
    """What is worth quoting: the scores of the whole, not of each label."""
    contenders = []
    for row in ladder["contenders"]:
        metrics = {
            name: value for name, value in row.get("metrics", {}).items() if name not in ("per_label", "confusion")
        }
        contenders.append({**{key: row.get(key) for key in KEPT}, "metrics": metrics, "gate": row.get("gate")})
    machine = {
        key: environment[key] for key in ("system", "machine", "cores", "threads", "device", "python", "libraries")
    }
    machine["processor"] = environment["measured"]["processor"]
    return {
        "machine": machine,
        "name": ladder["name"],
        "test": ladder["test"],
        "split": ladder["split"].get("counts"),
        "budget": ladder["budget"],
        "contenders": contenders,
        "comparisons": ladder["comparisons"],
        "verdict": ladder["verdict"],
    }


def main() -> None:
    """Run, show and write one ladder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", nargs="?", default="risk-triage")
    parser.add_argument("--data")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--name", help="of the result file; the spec's name when left out")
    options = parser.parse_args()
    spec = load_spec(options.spec, options.data, options.set)
    place = RunPaths.for_spec(spec, options.runs / spec.name)
    with ProgressScreen() as screen:
        ladder = run_experiment(spec, place, screen)
    screen.console.print(make_ladder_table(ladder))
    environment = json.loads((place.folder / "environment.json").read_text(encoding="utf-8"))
    file = RESULTS / f"ladder-{options.name or spec.name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(summary(ladder, environment), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(file)


if __name__ == "__main__":
    main()
