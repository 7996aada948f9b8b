"""Simulated worlds, through the product's own functions: whether its claims hold as often as it says.

python benchmarks/evidence.py [--scale 1.0] [--only operating ...]      writes results/evidence.json

It exits with 1 when a claim misses. `--scale` multiplies the number of worlds; below 1 it is a quick look, and writes
nothing.
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
    """Run the simulations and print a line for each claim."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--only", nargs="*", choices=MODULES, default=list(MODULES))
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    for name in asked.only:
        for claim in importlib.import_module(f"simulations.{name}").claims(asked.scale):
            rows.append({"kind": name, **claim.row()})
            bound = "<=" if claim.at_most else ">="
            print(
                f"{'ok    ' if claim.holds else 'MISSED'} {claim.name}: {claim.seen:.4g} [{claim.low:.4g}, "
                f"{claim.high:.4g}], promised {bound} {claim.promised:g} ({claim.worlds} worlds, {claim.unit})",
                flush=True,
            )
    if asked.scale >= 1 and set(asked.only) == set(MODULES):
        machine = {"processor": _processor(), "cores": os.cpu_count(), "python": platform.python_version()}
        found = {"machine": machine, "seconds": round(time.monotonic() - began), "claims": rows}
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row["holds"] for row in rows) else 1


def _processor() -> str:
    from loratory.models.probe import processor

    return processor()


if __name__ == "__main__":
    sys.exit(main())
