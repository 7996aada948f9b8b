"""How many hostile folders and data files were tried through the command line, and how many did not end well.

python benchmarks/faults.py                         all rows, written to benchmarks/results/faults.json
python benchmarks/faults.py --rows folders --count 20    a few of one row

A good end is exit code 0, or 2 with one message, without a traceback, within 10 s of a processor and 2 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from attempts import Ending, attempt, preload
from hostile_files import CSV, SPEC, data_files, specs
from hostile_folders import folders

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "faults.json"
SEED = 2
Tried = Iterator[tuple[str, Ending]]


def hostile_folders(count: int) -> Tried:
    """`loratory import` of a tiny good classifier with one thing changed."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    from loratory.flows.sandbox import LIBRARIES
    from tiny import save_base

    preload(LIBRARIES)
    with tempfile.TemporaryDirectory() as home:
        maps: dict[str, Any] = {"id2label": {0: "a", 1: "b", 2: "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
        good = save_base(Path(home) / "m", "bert", kind="AutoModelForSequenceClassification", **maps)
        for name, change in folders(SEED, count):
            with tempfile.TemporaryDirectory() as place:
                shutil.copytree(good, Path(place) / "m")
                change(Path(place) / "m")
                yield name, attempt(["import", "m", "-o", "out"], Path(place))


def hostile_data_files(count: int) -> Tried:
    """`loratory check` and `loratory init` of each file."""
    preload()
    for name, file, make in data_files(SEED, count):
        with tempfile.TemporaryDirectory() as place:
            make(Path(place))
            (Path(place) / "s.yaml").write_text(SPEC.format(path=file), encoding="utf-8")
            yield f"check {name}", attempt(["check", "s.yaml"], Path(place))
            yield f"init {name}", attempt(["init", file, "-o", "i.yaml"], Path(place))


def hostile_specs(count: int) -> Tried:
    """`loratory check` of each spec."""
    preload()
    for name, data in specs()[:count]:
        with tempfile.TemporaryDirectory() as place:
            (Path(place) / "d.csv").write_text(CSV, encoding="utf-8")
            (Path(place) / "s.yaml").write_bytes(data)
            yield name, attempt(["check", "s.yaml"], Path(place))


ROWS: dict[str, tuple[str, Callable[[int], Tried], int]] = {
    "folders": ("hostile folders", hostile_folders, 240),
    "files": ("hostile data files", hostile_data_files, 180),
    "specs": ("hostile specs", hostile_specs, 1000),
}


def row_of(tried: Tried) -> dict[str, Any]:
    """How many commands were run, what became of them, and the largest of them."""
    endings = dict(tried)
    faults = {name: fault for name, ending in endings.items() if (fault := ending.fault()) is not None}
    return {
        "tried": len(endings),
        "failures": len(faults),
        "worked": sum(ending.code == 0 for ending in endings.values()),
        "refused": sum(ending.code == 2 for ending in endings.values()),
        "most_seconds": round(max(ending.seconds for ending in endings.values()), 1),
        "most_megabytes": max(ending.peak for ending in endings.values()) // 2**20,
        "what_failed": faults,
    }


def machine() -> dict[str, Any]:
    """Where it was measured."""
    return {"platform": platform.platform(), "processors": os.cpu_count(), "python": platform.python_version()}


def main() -> None:
    """Try the rows that are asked for; each is written when it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS))
    parser.add_argument("--count", type=int, help="so many cases of each row")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    known: dict[str, Any] = json.loads(asked.output.read_text(encoding="utf-8")) if asked.output.is_file() else {}
    for key in asked.rows:
        name, run, count = ROWS[key]
        known.setdefault("rows", {})[name] = row_of(run(asked.count or count)) | {"machine": machine(), "seed": SEED}
        print(name, known["rows"][name])
        asked.output.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
