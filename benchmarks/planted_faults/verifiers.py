"""The three verifiers of a certificate: ours in Python, and those in Go and JavaScript where they are built."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from planted_faults.faults import GRAPH, UNREADABLE, WEIGHTS, find_kind
from planted_faults.folders import CERTIFICATE, ExportedFolder

VERIFIERS = Path(__file__).parents[2] / "verifiers"
GO_PROGRAM = VERIFIERS / "go" / "verify"
JS_PROGRAM = VERIFIERS / "js" / "verify.mjs"
JS_RUNTIME = VERIFIERS / "js" / "node_modules" / "onnxruntime-node"
MAX_SECONDS = 600
PASSED, REFUSED = 0, 1


@dataclass(frozen=True)
class Outcome:
    """What a verifier said of a folder."""

    refused: bool
    stage: str | None  # the first that differs; "unreadable" where the folder could not be run; None: it passed
    problem: str = ""


def verify_in_python(folder: Path) -> Outcome:
    """`loratory verify`, in this process."""
    from loratory.errors import LoratoryError, ParityError
    from loratory.experiment.export_fit import load_exporter
    from loratory.exporting.certificates.verification import verify_folder

    try:
        name = json.loads((folder / CERTIFICATE).read_text(encoding="utf-8"))["format"]
        verify_folder(folder, load_exporter(name))
    except ParityError as problem:
        return Outcome(True, problem.stage, problem.problem)
    except (LoratoryError, OSError, ValueError, KeyError, RuntimeError, IndexError) as problem:
        return Outcome(True, UNREADABLE, f"{type(problem).__name__}: {problem}"[:300])
    return Outcome(False, None)


def verify_in_go(folder: Path) -> Outcome:
    """verifiers/go/verify."""
    return run_program([str(GO_PROGRAM), "-json", str(folder)])


def verify_in_js(folder: Path) -> Outcome:
    """verifiers/js/verify.mjs."""
    return run_program(["node", str(JS_PROGRAM), "--json", str(folder)])


def run_program(command: list[str]) -> Outcome:
    """The outcome that a verifier of another language prints; raises RuntimeError where it crashed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=MAX_SECONDS)
    if done.returncode == 2 and done.stderr.startswith("cannot verify"):
        return Outcome(True, UNREADABLE, done.stderr.strip())
    if done.returncode not in (PASSED, REFUSED):
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    told = json.loads(done.stdout)
    problems = [one["problem"] for one in told["stages"] if one.get("problem")]
    return Outcome(done.returncode == REFUSED, told["stage"], "; ".join(problems)[:300])


def has_go() -> bool:
    """Whether the verifier in Go is built."""
    return GO_PROGRAM.is_file()


def has_js() -> bool:
    """Whether the verifier in JavaScript has its packages."""
    return shutil.which("node") is not None and JS_RUNTIME.is_dir()


def list_verifiers(folder: ExportedFolder) -> Mapping[str, Callable[[Path], Outcome]]:
    """The verifiers that run a folder's form, by name."""
    kind, found = find_kind(folder), {"python": verify_in_python}
    family = folder.certificate["model"]["family"]
    if kind == WEIGHTS and has_go() and family in ("bert", "roberta", "xlm-roberta", "distilbert"):
        found["go"] = verify_in_go
    if kind == GRAPH and has_js():
        found["js"] = verify_in_js
    return found
