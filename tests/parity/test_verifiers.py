"""The verifiers in Go and JavaScript: honest folders pass, each planted fault is refused and its stage named."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from planted_faults import PLANTED_FAULTS, ExportedFolder, PlantedFault, find_kind, select_faults
from planted_faults.verifiers import GO_PROGRAM, JS_PROGRAM, VERIFIERS, has_go, has_js, run_program

from certified_folders import FolderPlan, write_certified_folder

POINT = {
    "temperature": 1.3,
    "thresholds": {"card": 0.2, "cash": 0.5},
    "score": "confidence",
    "least": 0.5,
    "rule": "odds",
}
FOLDER_PLANS = {
    "bert": FolderPlan(point=POINT),
    "bert-cls": FolderPlan(pooling="cls"),
    "bert-stock": FolderPlan(head="stock"),
    "roberta": FolderPlan(family="roberta", pooling="max"),
    "roberta-stock": FolderPlan(family="roberta", head="stock", point=POINT),
    "distilbert": FolderPlan(family="distilbert", head="stock"),
    "tokens": FolderPlan(family="distilbert", head="token"),
}
GO_FAULTS = (
    "lowercasing is off",
    "texts are cut on the left",
    "another vocabulary",
    "the adapter is not merged",
    "LayerNorm's epsilon is 1e-5",
    "GELU by tanh",
    "one exponent bit is flipped",
    "positions begin two later",
    "rows are padded on the left",
    "pooling by the first token",
    "two prototypes are swapped",
    "the temperature is lost",
    "the thresholds are lost",
    "labels change places",
    "tolerances are widened",
    "a file too many",
)
JS_FAULTS = (
    "accents are kept",
    "special tokens are missing",
    "texts are cut too early",
    "the graph ignores the mask",
    "ids are shifted by one",
    "outputs change places",
    "the graph lost the temperature",
    "answers depend on the batch",
    "a matrix of the graph is scaled",
    "an exponent bit of the graph is flipped",
    "the thresholds are lost",
    "labels change places",
    "one bit of the weights",
    "goldens are dropped",
)


def build(language: str) -> None:
    """Build a verifier, or skip the test with what is missing."""
    if shutil.which("bash") is None:
        pytest.skip("no bash on this machine")
    done = subprocess.run([str(VERIFIERS / "build.sh"), language], capture_output=True, text=True, check=True)
    if not (has_go() if language == "go" else has_js()):
        pytest.skip(done.stdout.strip())


@pytest.fixture(scope="module")
def go_verifier() -> list[str]:
    """The command of the verifier in Go."""
    build("go")
    return [str(GO_PROGRAM), "-json"]


@pytest.fixture(scope="module")
def js_verifier() -> list[str]:
    """The command of the verifier in JavaScript."""
    build("js")
    return ["node", str(JS_PROGRAM), "--json"]


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """An honest folder of a plan in a form, made once."""
    home = tmp_path_factory.mktemp("certified")

    def make(name: str, form: str) -> Path:
        folder = home / f"{name}-{form}"
        return folder if folder.is_dir() else write_certified_folder(folder, FOLDER_PLANS[name], form)

    return make


def get_fault(name: str) -> PlantedFault:
    """The planted fault of that name."""
    return next(fault for fault in PLANTED_FAULTS if fault.name == name)


def test_faults_have_names_of_their_own_and_stages_that_exist() -> None:
    names = [fault.name for fault in PLANTED_FAULTS]
    assert len(set(names)) == len(names) >= 40
    stages = {stage for fault in PLANTED_FAULTS for stage in fault.stages}
    known = {"digest", "tokens", "embedding", "layer", "pooled", "logits", "probabilities", "labels", "answer", "batch"}
    assert stages <= known | {"unreadable"}
    assert known <= stages  # every stage has a fault that is to be seen there


def test_a_fault_leaves_the_honest_folder_as_it_is(folder_of: Callable[[str, str], Path], tmp_path: Path) -> None:
    honest = ExportedFolder(folder_of("bert", "peft"))
    before = {file: file.read_bytes() for file in honest.path.rglob("*") if file.is_file()}
    for number, fault in enumerate(select_faults(PLANTED_FAULTS, honest)):
        fault.apply(honest, tmp_path / str(number))
    assert {file: file.read_bytes() for file in honest.path.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("name", FOLDER_PLANS)
def test_go_passes_an_honest_folder(go_verifier: list[str], folder_of: Callable[[str, str], Path], name: str) -> None:
    done = subprocess.run([*go_verifier, str(folder_of(name, "peft"))], capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert (done.returncode, told["stage"]) == (0, None), told
    far = {one["stage"]: one["difference"] for one in told["stages"] if one["tolerance"]}
    assert {"embedding", "layer 1", "layer 2", "logits", "probabilities", "batch"} <= set(far)
    assert max(far.values()) < 1e-5
    assert all(one["compared"] >= len(far) for one in told["stages"] if one["stage"] == "tokens")


def test_js_passes_an_honest_folder(js_verifier: list[str], folder_of: Callable[[str, str], Path]) -> None:
    done = subprocess.run([*js_verifier, str(folder_of("bert", "onnx"))], capture_output=True, text=True)
    told = json.loads(done.stdout)
    assert (done.returncode, told["stage"]) == (0, None), told
    assert max(one["difference"] for one in told["stages"] if one["tolerance"]) < 1e-5


@pytest.mark.parametrize("name", GO_FAULTS)
def test_go_refuses_a_planted_fault(
    go_verifier: list[str], folder_of: Callable[[str, str], Path], tmp_path: Path, name: str
) -> None:
    check_refusal(go_verifier, ExportedFolder(folder_of("bert", "peft")), get_fault(name), tmp_path / "faulty")


@pytest.mark.parametrize("name", JS_FAULTS)
def test_js_refuses_a_planted_fault(
    js_verifier: list[str], folder_of: Callable[[str, str], Path], tmp_path: Path, name: str
) -> None:
    check_refusal(js_verifier, ExportedFolder(folder_of("bert", "onnx")), get_fault(name), tmp_path / "faulty")


def check_refusal(verifier: list[str], honest: ExportedFolder, fault: PlantedFault, place: Path) -> None:
    """The fault suits the folder, and the verifier refuses it at the stage that it is of."""
    assert fault.suits(honest)
    found = run_program([*verifier, str(fault.apply(honest, place).path)])
    assert found.refused
    assert fault.names_stage(found.stage, find_kind(honest)), f"{found.stage}, expected {fault.stages}: {found.problem}"


@pytest.mark.parametrize("language", ["go", "js"])
def test_a_folder_that_cannot_be_read_ends_with_2(
    request: pytest.FixtureRequest, tmp_path: Path, folder_of: Callable[[str, str], Path], language: str
) -> None:
    verifier = request.getfixturevalue(f"{language}_verifier")
    foreign = folder_of("bert", "onnx" if language == "go" else "peft")  # a form of the other one
    torn = ExportedFolder(folder_of("bert", "onnx" if language == "js" else "peft")).copy_to(tmp_path / "torn")
    torn.replace("certificate.json", b'{"kind": "loratory-certificate", ')
    for folder in (tmp_path / "nowhere", foreign, torn.path):
        done = subprocess.run([*verifier, str(folder)], capture_output=True, text=True)
        assert done.returncode == 2
        assert done.stderr.startswith("cannot verify: ")
        assert not done.stdout


@pytest.mark.parametrize("command", [["go", "test", "."], ["node", "--test"]], ids=["go", "js"])
def test_the_verifiers_own_tests_pass(command: list[str]) -> None:
    language = "go" if command[0] == "go" else "js"
    build(language)
    environment = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode"} if language == "go" else {}
    done = subprocess.run(
        ["env", *(f"{key}={value}" for key, value in environment.items()), *command],
        cwd=VERIFIERS / language,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
