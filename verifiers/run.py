"""Run the verifiers that are built: on the folders that are named, or on a small fit that is exported for it.

python verifiers/run.py [FOLDER ...]      ends with 1 where one of them refuses a folder, 2 where it cannot read one
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

HOME = Path(__file__).parent
GO_PROGRAM = HOME / "go" / "verify"
JS_PROGRAM = HOME / "js" / "verify.mjs"
JS_RUNTIME = HOME / "js" / "node_modules" / "onnxruntime-node"
OPENINGS = ("hello,", "please help:", "since monday", "what now,", "for a week", "again")
MESSAGES: Mapping[str, Sequence[str]] = {
    "card": ("my card was blocked", "the card did not arrive", "a new card please", "my card is broken"),
    "cash": ("the machine kept my cash", "no cash came out", "I need cash now", "cash withdrawal failed"),
    "login": ("I cannot log in", "my password is wrong", "the login code is late", "log in fails again"),
}
SPEC = """\
name: verified
task: {kind: classify}
data: {path: messages.jsonl, text: text, label: label, split: {test: 0.3, validation: 0.2, seed: 1}}
base: minilm
ladder: [majority, lora]
training: {epochs: 1, seeds: 1, trials: 1}
"""


def main(folders: Sequence[str]) -> int:
    """The worst exit code of the verifiers."""
    programs = find_programs()
    if not programs:
        print("verifiers: none is built, so nothing was verified (verifiers/build.sh says what is missing)")
        return 0
    if folders:
        return max(verify(programs, Path(folder)) for folder in folders)
    with tempfile.TemporaryDirectory() as work:
        return max(verify(programs, folder) for folder in export_small_fit(Path(work)))


def find_programs() -> dict[str, list[str]]:
    """The command of each verifier that is built, by the ending of the model files that it runs."""
    found = {}
    if GO_PROGRAM.is_file():
        found[".safetensors"] = [str(GO_PROGRAM)]
    if JS_RUNTIME.is_dir() and shutil.which("node"):
        found[".onnx"] = ["node", str(JS_PROGRAM)]
    return found


def verify(programs: Mapping[str, Sequence[str]], folder: Path) -> int:
    """Let the verifier of a folder's form judge it; 0 where there is none."""
    try:
        certificate = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
        ending = Path((certificate["model"].get("files") or {}).get("model") or "").suffix
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        print(f"{folder}: no certificate of an exported model ({problem})")
        return 2
    if ending not in programs:
        print(f"{folder}: skipped, no verifier that is built runs this form")
        return 0
    print(f"{folder}:", flush=True)
    return subprocess.run([*programs[ending], str(folder)]).returncode


def export_small_fit(work: Path) -> list[Path]:
    """Train LoRA on a few messages, and export it to peft and onnx; the two folders."""
    rows = [
        {"text": f"{opening} {words}", "label": label}
        for label, listed in MESSAGES.items()
        for words in listed
        for opening in OPENINGS
    ]
    (work / "messages.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (work / "spec.yaml").write_text(SPEC, encoding="utf-8")
    run, exported = work / "run", work / "exported"
    for command in (
        ["run", str(work / "spec.yaml"), "-o", str(run), "-q"],
        ["export", str(run), "-c", "lora", "--to", "peft,onnx", "-o", str(exported), "-q"],
    ):
        subprocess.run([sys.executable, "-m", "loratory", *command], check=True)
    return [exported / "peft", exported / "onnx"]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
