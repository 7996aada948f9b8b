"""Simulated worlds, through the product's own functions: whether its claims hold as often as it says.

python benchmarks/evidence.py [--scale 1.0] [--only operating ...]      writes results/evidence.json

It exits with 1 when a claim misses. `--only` runs some kinds of claims and replaces theirs in the file. `--scale`
multiplies the number of worlds; below 1 it is a quick look, and writes nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT = HERE / "results" / "evidence.json"
MODULES = ("splits", "operating", "intervals", "decisions", "selection", "calibration", "ledger")


def main() -> int:
    """Run the simulations, print a line for each claim, and keep what was found of whole ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=MODULES, default=list(MODULES))
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in asked.only:
        began, found = time.monotonic(), []
        for claim in importlib.import_module(f"simulations.{name}").claims(asked.scale):
            found.append({"kind": name, **claim.row()})
            print(describe(claim), flush=True)
        rows += found
        if asked.scale >= 1:
            keep(name, round(time.monotonic() - began), found)
    return 0 if all(row["holds"] for row in rows) else 1


def describe(claim: Any) -> str:
    """A claim in a line."""
    bound = "<=" if claim.at_most else ">="
    return (
        f"{'ok    ' if claim.holds else 'MISSED'} {claim.name}: {claim.seen:.4g} [{claim.low:.4g}, {claim.high:.4g}], "
        f"promised {bound} {claim.promised:g} ({claim.worlds} worlds, {claim.unit})"
    )


def keep(kind: str, seconds: int, rows: list[dict[str, Any]]) -> None:
    """Put the claims of one kind in the place of the older ones; all others stay."""
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {"claims": [], "seconds": {}}
    machine = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
    others = [row for row in known["claims"] if row["kind"] != kind]
    claims = sorted([*others, *rows], key=lambda row: MODULES.index(row["kind"]))  # stable: in the order of each kind
    found = {"machine": machine, "seconds": {**known["seconds"], kind: seconds}, "claims": claims}
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    from loratory.backbones.forward.hardware_benchmark import processor_name

    return processor_name()


if __name__ == "__main__":
    sys.exit(main())
