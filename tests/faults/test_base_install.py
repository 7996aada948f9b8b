"""Every verb where no extra is installed: one message that names the extra, exit code 2, and no traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from loratory.artifacts.manifests import stage_artifact
from loratory.cli import VERBS
from loratory.cli.missing_extras import EXTRA_BY_LIBRARY, INCLUDED_EXTRAS, choose_extra
from loratory.cli.missing_extras import EXTRA_BY_VERB as EXTRAS

ROOT = Path(__file__).parents[2]
HIDE = """
import importlib.abc, re, sys
from importlib import metadata

def needed(names):
    found, waiting = set(), list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name not in found:
            found.add(name)
            try:
                own = [one for one in metadata.requires(name) or () if "extra ==" not in one]
                waiting += [re.match(r"[\\w.-]+", one)[0] for one in own]
            except metadata.PackageNotFoundError:
                pass
    return found

KEPT = needed({base})
OWNERS = metadata.packages_distributions()
HIDDEN = {{top for top, owners in OWNERS.items() if not {{one.lower().replace("_", "-") for one in owners}} & KEPT}}

class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN - {{"loratory"}}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Hide())
"""
WORDS = ("card", "letter", "house", "garden", "bicycle", "boat", "dog", "lamp", "chair", "window", "tree", "river")


def requirements() -> list[str]:
    """The names of the base dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.split(r"[<>=!~;\[ ]", one)[0] for one in project["dependencies"]]


def test_every_library_of_an_extra_is_known_by_its_smallest_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    modules = {"scikit-learn": "sklearn"}
    own = {
        extra: {re.split(r"[<>=!~;\[ ]", one)[0] for one in listed}
        for extra, listed in project["optional-dependencies"].items()
        if extra not in ("all", "dev", "docs")
    }
    for extra, listed in own.items():
        for name in listed - {"loratory"}:
            module = modules.get(name, name.replace("-", "_"))
            assert name in own[EXTRA_BY_LIBRARY[module]] or module in EXTRA_BY_LIBRARY, f"{name} of {extra}"
    assert set(EXTRAS) | {"recipes", "schema"} == {verb.NAME for verb in VERBS}
    assert set(EXTRAS.values()) <= set(INCLUDED_EXTRAS)


@pytest.mark.parametrize(
    ("verb", "extra", "library", "told"),
    [
        ("run", "models", "torch", "train"),
        ("predict", "models", "torch", "models"),
        ("predict", "train", "sklearn", "train"),
        ("serve", "models", "torch", "serve"),
        ("serve", "evaluation", "scipy", "evaluation"),
        ("check", "excel", "openpyxl", "excel"),
        ("", "models", "torch", "models"),
    ],
)
def test_a_verb_asks_for_what_it_needs_whole(verb: str, extra: str, library: str, told: str) -> None:
    assert choose_extra(verb, extra, library) == told


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with examples, specs, a model folder, an artifact, and the module that hides the extras."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(HIDE.format(base=requirements()), encoding="utf-8")
    rows = "".join(f"{verb} the {word},{label}\n" for word in WORDS for verb, label in (("lost", "A"), ("got", "B")))
    (folder / "d.csv").write_text("text,label\n" + rows, encoding="utf-8")
    (folder / "d.parquet").write_bytes(b"PAR1PAR1")
    (folder / "plain.yaml").write_text("name: x\ndata: {path: d.csv}\nladder: [tfidf]\n", encoding="utf-8")
    (folder / "lora.yaml").write_text("name: x\ndata: {path: d.csv}\nladder: [tfidf, lora]\n", encoding="utf-8")
    model = folder / "model"
    model.mkdir()
    config = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "a", "1": "b"},
    }
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (model / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with stage_artifact(folder / "art", {"kind": "import"}) as part:
        task = {"kind": "classify", "labels": ["a", "b"]}
        (part / "predictor.json").write_text(json.dumps({"kind": "encoder", "task": task}), encoding="utf-8")
        (part / "encoder.json").write_text("{}", encoding="utf-8")
    return folder


TOLD = {  # command -> the extra that is named
    "check plain.yaml": "train",
    "check lora.yaml": "train",
    "run plain.yaml": "train",
    "run lora.yaml": "train",
    "train lora.yaml": "train",
    "init d.parquet -o new.yaml": "train",
    "import model -o out": "models",
    "predict art hello": "models",
    "predict --url http://127.0.0.1:1 hello": "client",
    "evaluate art --data d.csv": "train",
    "evaluate --url http://127.0.0.1:1 --data d.csv": "client",
    "redact art hello": "models",
    "stress art --data d.csv": "train",
    "serve art": "serve",
    "doctor": "train",
}
QUICK = ("check plain.yaml", "run plain.yaml", "import model -o out", "predict art hello", "serve art", "doctor")


def without_extras(command: str, folder: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    paths = [str(folder / "site"), str(ROOT / "src")]
    return subprocess.run(
        [python, "-m", "loratory", *command.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "XDG_STATE_HOME": str(folder), "LORATORY_DEBUG": ""},
    )


def is_told(done: subprocess.CompletedProcess[str], extra: str) -> None:
    messages = [line for line in done.stderr.splitlines() if line.startswith("loratory: ")]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(messages) == 1, done.stderr
    assert "is not installed" in messages[0]
    assert f'pip install "loratory[{extra}]"' in done.stderr


@pytest.mark.parametrize("command", [pytest.param(one, marks=[] if one in QUICK else pytest.mark.slow) for one in TOLD])
def test_a_missing_extra_is_named_by_every_verb(command: str, place: Path) -> None:
    is_told(without_extras(command, place), TOLD[command])


def test_what_needs_no_extra_works_without_one(place: Path) -> None:
    assert without_extras("recipes --json", place).returncode == 0
    assert json.loads(without_extras("schema", place).stdout)["required"] == ["name", "data", "ladder"]
    done = without_extras("init d.csv -o made.yaml", place)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", ["discover model", "export art -o e", "report art", "keys list", "audit a.log"])
def test_other_verbs_end_in_a_message_too(command: str, place: Path) -> None:
    done = without_extras(command, place)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_wheel_without_extras(place: Path, tmp_path: Path) -> None:
    """The wheel in an environment of its own, with its base dependencies alone; skipped where they cannot be had."""
    made = tmp_path / "made"
    build = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(made), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if build.returncode:
        pytest.skip(f"no wheel can be built here: {build.stderr[-200:]}")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = str(tmp_path / "env" / "bin" / "python")
    install = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", str(next(made.glob("*.whl")))],
        capture_output=True,
        text=True,
        check=False,
    )
    if install.returncode:
        pytest.skip(f"the base dependencies cannot be had here: {install.stderr[-200:]}")
    for command, extra in TOLD.items():
        done = subprocess.run(
            [python, "-m", "loratory", *command.split()],
            cwd=place,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        )
        is_told(done, extra)
