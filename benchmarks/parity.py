"""Exports and their certificates: honest forms that pass, and planted faults that are refused with the stage named.

python benchmarks/parity.py [RUN ...] [--minutes 30]      writes results/parity.json

Each RUN is a finished run; without one three are trained first: risk-triage with LoRA and a pooled head at an operating
point, the same with a stock head, and the embedded writer. Every run is exported to every form that it has. The faults
are planted in the forms of the first run and of the first writer; each verifier judges the forms that it runs. What is
done is kept in the work folder, so that a stopped benchmark goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import processors
from planted_faults import PLANTED_FAULTS, ExportedFolder, PlantedFault, find_kind, select_faults
from planted_faults.faults import WRITER
from planted_faults.folders import CERTIFICATE
from planted_faults.verifiers import Outcome, list_verifiers

FITS: Mapping[str, Sequence[str]] = {
    "pooled": (
        "ladder=[tfidf, lora]",
        "training.epochs=2",
        "data.split.calibration=0.15",
        "operating={thresholds: {FRAUD: {recall: 0.9}}, abstain: {score: confidence}}",
    ),
    "stock": ("ladder=[tfidf, lora]", "training.epochs=1", "lora.head=stock"),
    "writer": (
        "ladder=[tfidf, {lora-json: {regime: lora, base: seedling, learning_rate: 0.002, prompt: asked.yaml}}]",
        "training.epochs=1",
    ),
}
CONTENDERS = {"pooled": "lora", "stock": "lora", "writer": "lora-json"}
FORMS = (
    "peft",
    "onnx",
    "onnx-fp16",
    "int8",
    "int8-weights",
    "sentence-transformers",
    "transformers-js",
    "gguf",
    "vllm",
)
OMITTED_FORMS = ("router",)  # peft's weights again, for a task of that router
TEST_STEP, BATCH_MEMBERS = 6, 6  # of the goldens that faults are shown: one test text in six, two batches of six
FAULTY_FORMS = ("peft", "onnx", "int8-weights")  # forms that faults are planted in


@dataclass(frozen=True)
class Subject:
    """A form of a fit, with a fault to plant in it or none."""

    fit: str
    form: str
    folder: Path
    fault: PlantedFault | None = None


@dataclass(frozen=True)
class Verdict:
    """What one verifier said of one folder, honest or faulty."""

    fit: str
    form: str
    fault: str | None  # None: it is honest
    verifier: str
    refused: bool
    stage: str | None
    named: bool | None  # whether the stage is the one that should be named; None of honest forms
    seconds: float
    goldens: int
    problem: str = ""


class Notebook:
    """Verdicts that were made, kept on disk one a line."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.verdicts: list[Verdict] = []
        if file.is_file():
            self.verdicts = [Verdict(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]

    def has(self, fit: str, form: str, fault: str | None, verifier: str) -> bool:
        """Whether this was verified."""
        return any(
            (one.fit, one.form, one.fault, one.verifier) == (fit, form, fault, verifier) for one in self.verdicts
        )

    def add(self, verdict: Verdict) -> None:
        """Keep a verdict, and show it."""
        self.verdicts.append(verdict)
        with self.file.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(asdict(verdict), ensure_ascii=False) + "\n")
        said = verdict.stage or "passed"
        right = verdict.refused == (verdict.fault is not None) and verdict.named is not False
        print(
            f"{'  ' if right else '! '}{verdict.fit:<7} {verdict.form:<13} {verdict.verifier:<7} "
            f"{verdict.fault or 'honest':<45} {said:<14} {verdict.seconds:5.1f} s  {'' if right else verdict.problem}",
            flush=True,
        )


def main() -> None:
    """Export, verify, plant, verify, and write what came of it."""
    options = parse_options()
    options.work.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * options.minutes
    runs = {path.name: path for path in options.runs} or train_fits(options.work)
    exports, refusals = export_runs(runs, options.work, options.forms.split(",") if options.forms else None)
    notebook = Notebook(options.work / "verdicts.jsonl")
    for subject in list_subjects(exports):
        if time.monotonic() < until:
            run_verifiers(notebook, subject, options.verifiers.split(","))
    result = summarise(exports, refusals, notebook.verdicts)
    file = options.output or processors.RESULTS / "parity.json"
    file.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("faults", "faults_caught", "stage_named", "honest_refused")}))


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--work", type=Path, default=Path("runs/parity"))
    parser.add_argument("--minutes", type=float, default=60, help="stop after so many, and go on with the next call")
    parser.add_argument("--verifiers", default="python,go,js", help="whose turn it is; two calls may run side by side")
    parser.add_argument("--forms", help="these alone, with commas; every form that a run has when left out")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def train_fits(work: Path) -> dict[str, Path]:
    """The three runs; one that was trained before is taken as it is."""
    runs = {}
    for name, changes in FITS.items():
        runs[name] = work / name
        settings = [part for change in changes for part in ("--set", change)]
        command = [sys.executable, "-m", "loratory", "run", "risk-triage", "-q", "-o", str(runs[name]), *settings]
        if not (runs[name] / "verdict.json").is_file():
            subprocess.run(command, check=True)
    return runs


def export_runs(
    runs: Mapping[str, Path], work: Path, wanted: Sequence[str] | None
) -> tuple[dict[str, dict[str, Path]], list[dict[str, str]]]:
    """Every form of every run, and the honest forms that their own export refused."""
    from loratory.experiment.export_fit import list_exporters, load_exporter

    exports: dict[str, dict[str, Path]] = {}
    refusals: list[dict[str, str]] = []
    for fit, run in runs.items():
        suited = [one.name for one in list_exporters(run, CONTENDERS.get(fit)) if one.suits]
        suited = [name for name in suited if wanted is None or name in wanted]
        forms = [name for name in suited if load_exporter(name).tolerance_class and name not in OMITTED_FORMS]
        forms.sort(key=lambda name: load_exporter(name).exact_form is not None)  # exact ones first: others need them
        places = {form: work / "exports" / fit / form for form in forms}
        refused = export_missing_forms(run, CONTENDERS.get(fit), places)
        refusals += [{"fit": fit, **one} for one in refused]
        exports[fit] = {form: place for form, place in places.items() if (place / CERTIFICATE).is_file()}
    return exports, refusals


def export_missing_forms(run: Path, contender: str | None, places: Mapping[str, Path]) -> list[dict[str, str]]:
    """Export what is not there yet, all forms in one call, since they share goldens; returns the refusals."""
    from loratory.api.exports import export
    from loratory.errors import ParityError
    from loratory.exporting.certificates.tolerances import MAX_MARGIN  # small runs cannot show less of a rounded form

    refusals: list[dict[str, str]] = []
    missing = [form for form, place in places.items() if not (place / CERTIFICATE).is_file()]
    while missing:
        try:
            place = places[missing[0]]  # one form is written to the folder itself, many into it
            export(
                run, place if len(missing) == 1 else place.parent, to=missing, contender=contender, margin=MAX_MARGIN
            )
            return refusals
        except ParityError as problem:
            refused = next(form for form in missing if not (places[form] / CERTIFICATE).is_file())
            refusals.append({"form": refused, "stage": problem.stage, "problem": problem.problem})
            missing = missing[missing.index(refused) + 1 :]
    return refusals


def list_subjects(exports: Mapping[str, Mapping[str, Path]]) -> Iterable[Subject]:
    """Every honest form; then faults in the forms of the first run of an encoder, and of the first writer."""
    yield from (Subject(fit, form, folder) for fit, forms in exports.items() for form, folder in forms.items())
    kinds: set[str] = set()
    for fit, forms in exports.items():
        is_writer = any(find_kind(ExportedFolder(folder)) == WRITER for folder in forms.values())
        kind = "writer" if is_writer else "encoder"
        if kind in kinds or not forms:
            continue
        kinds.add(kind)
        for form in (name for name in FAULTY_FORMS if name in forms):
            thin = forms[form].parent / f"{form}-thin"
            if not (thin / CERTIFICATE).is_file():
                thin_goldens(ExportedFolder(forms[form]), thin)
            yield from (Subject(fit, form, thin, fault) for fault in choose_faults(form, thin))


def thin_goldens(honest: ExportedFolder, place: Path) -> ExportedFolder:
    """An honest copy with fewer goldens, so that a hundred faults take minutes: what few texts show, all show too."""
    shutil.rmtree(place, ignore_errors=True)
    made = honest.copy_to(place)
    name = honest.certificate["goldens"]["file"]
    rows = [json.loads(line) for line in (honest.path / name).read_text(encoding="utf-8").splitlines()]
    tests = [row for row in rows if row["kind"] == "test"]
    others = [row for row in rows if row["kind"] not in ("test", "batch")]
    kept = sorted([*tests[::TEST_STEP], *others], key=lambda row: len(row["tokens"]))
    step = max(1, len(kept) // BATCH_MEMBERS)
    batches = [{"kind": "batch", "id": f"batch-{i}", "members": [r["id"] for r in kept[i::step]]} for i in range(2)]
    made.replace(name, "".join(json.dumps(row) + "\n" for row in [*kept, *batches]).encode("utf-8"))
    with made.edit_json(CERTIFICATE) as certificate:
        certificate["goldens"] |= {"count": len(kept), "batches": len(batches)}
    made.sign()
    return made


def choose_faults(form: str, folder: Path) -> list[PlantedFault]:
    """Faults for a form; of a rounded one those alone that its exact form cannot have."""
    found = select_faults(PLANTED_FAULTS, ExportedFolder(folder))
    if form != "int8-weights":
        return found
    return [fault for fault in found if "graph" in fault.kinds and len(fault.kinds) == 1]


def run_verifiers(notebook: Notebook, subject: Subject, names: Sequence[str]) -> None:
    """What the verifiers say of a folder, honest or with a fault, where they have not said it yet."""
    honest, fault = ExportedFolder(subject.folder), subject.fault
    known = fault.name if fault else None
    verifiers = {name: one for name, one in list_verifiers(honest).items() if name in names}
    asked = {n: one for n, one in verifiers.items() if not notebook.has(subject.fit, subject.form, known, n)}
    if not asked:
        return
    place = subject.folder.parent / f"{subject.form}-faulty-{os.getpid()}"
    shutil.rmtree(place, ignore_errors=True)
    verified = fault.apply(honest, place) if fault else honest
    for name, verify in asked.items():
        started = time.perf_counter()
        found: Outcome = verify(verified.path)
        named = fault.names_stage(found.stage, find_kind(honest)) if fault else None
        notebook.add(
            Verdict(
                fit=subject.fit,
                form=subject.form,
                fault=known,
                verifier=name,
                refused=found.refused,
                stage=found.stage,
                named=named,
                seconds=round(time.perf_counter() - started, 2),
                goldens=honest.certificate["goldens"]["count"],
                problem=found.problem,
            )
        )
    if fault:
        shutil.rmtree(place)


def summarise(
    exports: Mapping[str, Mapping[str, Path]], refusals: Sequence[Mapping[str, str]], verdicts: Sequence[Verdict]
) -> dict[str, Any]:
    """The figures. A fault counts once for each form that it was planted in, and is caught where ours refuses it."""
    ours = [one for one in verdicts if one.verifier == "python"]
    planted = [one for one in ours if one.fault]
    honest = [one for one in verdicts if not one.fault]
    return {
        "machine": processors.describe_machine(),
        "goldens_of_faults": {one.fit: one.goldens for one in planted},
        "kinds_of_fault": len({one.fault for one in planted}),
        "faults": len(planted),
        "faults_caught": sum(one.refused for one in planted),
        "stage_named": sum(bool(one.refused and one.named) for one in planted),
        "honest": len(honest) + len(refusals),
        "honest_refused": sum(one.refused for one in honest) + len(refusals),
        "refused_by_export": list(refusals),
        "by_verifier": {name: count_verdicts(verdicts, name) for name in ("python", "go", "js")},
        "forms": {
            fit: {form: describe_form(folder) for form, folder in forms.items()} for fit, forms in exports.items()
        },
        "missed": [asdict(one) for one in verdicts if one.fault and not one.refused],
        "misnamed": [asdict(one) for one in verdicts if one.fault and one.refused and not one.named],
        "verdicts": [asdict(one) for one in verdicts],
    }


def count_verdicts(verdicts: Sequence[Verdict], verifier: str) -> dict[str, Any]:
    """Of one verifier: honest forms and faults that it verified, and how."""
    mine = [one for one in verdicts if one.verifier == verifier]
    planted, honest = [one for one in mine if one.fault], [one for one in mine if not one.fault]
    return {
        "honest": len(honest),
        "honest_refused": sum(one.refused for one in honest),
        "faults": len(planted),
        "faults_caught": sum(one.refused for one in planted),
        "stage_named": sum(bool(one.refused and one.named) for one in planted),
        "seconds_per_honest_form": round(statistics.mean(one.seconds for one in honest), 2) if honest else None,
    }


def describe_form(folder: Path) -> dict[str, Any]:
    """What the certificate of a form measured."""
    certificate = ExportedFolder(folder).certificate
    measured = certificate["measured"]
    accuracy = measured.get("accuracy") or {}
    return {
        "class": certificate["tolerance_class"],
        "goldens": certificate["goldens"]["count"],
        "tokens_equal": measured["tokens_equal"],
        "max_dp": measured["max_dp"],
        "q99_dp": measured["q99_dp"],
        "batch_dp": measured["batch_dp"],
        "agreement": measured["label_agreement"],
        "accuracy_difference": accuracy.get("difference"),
        "accuracy_interval": [accuracy.get("low"), accuracy.get("high")] if accuracy else None,
        "latency_ms": measured["latency_ms"],
        "bytes": measured.get("bytes"),
    }


if __name__ == "__main__":
    main()
