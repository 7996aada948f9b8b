"""The router's layout: stock libraries open it with our logits; its files say what was trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from torch import Tensor
from typer.testing import CliRunner, Result

from loratory.artifacts.manifests import extend_artifact, stage_artifact, verify_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.cli import app
from loratory.errors import ArtifactError, LoratoryError, SpecError, UnsupportedTask
from loratory.experiment.export_fit import ExportRequest, ExportResult, export_fit
from loratory.experiment.golden_sources import WRITTEN_ALONE
from loratory.exporting import stock_layouts
from loratory.exporting.omissions import POINT_NOT_EXPORTED, SPAN_RULES_NOT_EXPORTED
from loratory.importing.import_folder import import_folder
from loratory.integrations.semantic_router import router_layout
from loratory.integrations.semantic_router.model_discovery import discover_models
from loratory.integrations.semantic_router.router_export import ROUTER_ORDER_WARNING
from loratory.predictors import predictor_files
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.encoder import Encoder
from loratory.predictors.span_rules import SpanRule
from loratory.protocols import EncodeRequest, TrainSet
from loratory.regimes.lora import Lora
from loratory.regimes.rules import Rules
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag
from tiny_models import TEXTS, load_backbone_from, make_context, make_task, make_train_set, save_base

FAMILIES = ("bert", "roberta", "modernbert", "deberta-v2")
WORDS = {"bert": "bert-base-uncased", "roberta": "roberta-base", "modernbert": "modernbert-base"}
FACTS = {"run": "toy", "contender": "lora", "regime": "lora", "base": "bert", "data": "toy.csv", "scores": {"f2": 0.5}}
OPTIONS = {"rank": 4, "alpha": 6, "dropout": 0.05, "learning_rate": 0.05, "head_learning_rate": 0.05}
Fits = Callable[..., Path]


def make_task_and_examples(task: str) -> tuple[Any, TrainSet]:
    """A task of the router's, and examples of it."""
    if task == "pii":
        tag = Tag(labels=("THING",))
        made = [tag.read({"text": "my card is broken", "spans": [[3, 7, "THING"]]})]
        return tag, TrainSet(made, made)
    if task == "jailbreak":
        two = Classify(labels=("benign", "jailbreak"))
        made = [
            two.read({"text": text, "label": label}) for text, label in (("hello", "benign"), ("cash", "jailbreak"))
        ]
        return two, TrainSet(made, made)
    return make_task(), TrainSet(make_train_set().train[::6], make_train_set().train[::6])


@pytest.fixture(scope="module")
def fit_of(tmp_path_factory: pytest.TempPathFactory) -> Fits:
    """The artifact of a fit of one step, with all layouts; made when first asked for."""
    home = tmp_path_factory.mktemp("router")

    def save_fit(family: str, task: str, head: str = "stock") -> Path:
        folder = home / f"{family}-{task}-{head}"
        if not folder.exists():
            base = home / f"base-{family}"
            backbone = load_backbone_from(base if base.exists() else save_base(base, family))
            settled, examples = make_task_and_examples(task)
            fit: Any = Lora.model_validate({**OPTIONS, "head": head}).fit(
                settled, examples, backbone, make_context(epochs=1, max_tokens=40)
            )
            about = {"kind": "fit", "contender": "lora-stock", "regime": "lora", "base": family, "seed": 1}
            with stage_artifact(folder, {**about, "identity": "x"}) as part:
                predictor_files.save_predictor(part, fit)
            with extend_artifact(folder) as part:
                stock_layouts.write_stock_layouts(part, fit, FACTS)
        return folder

    return save_fit


def export_to_router(fit: Path, output: Path, task: str | None, with_adapter: bool = True) -> ExportResult:
    options = {"task_name": task, "merged_only": not with_adapter}
    return export_fit(ExportRequest(fit, None, ("router",), output, options))


def read(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def opener(task: str) -> Any:
    tokens = task == "pii"
    return transformers.AutoModelForTokenClassification if tokens else transformers.AutoModelForSequenceClassification


def far(model: Any, folder: Path, fit: Path) -> float:
    """How far a stock model's logits with the folder's own tokenizer lie from the fit's."""
    encoder: Any = predictor_files.load_predictor(fit, TorchBackbonePool())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = [ids for ((ids, _),) in encoder.encode_rows([{"text": text} for text in TEXTS])]
    ours: list[Tensor] = run_locally([EncodeRequest(encoder.network, ids) for ids in rows])
    worst = 0.0
    for text, one in zip(TEXTS, ours, strict=True):
        with torch.no_grad():
            theirs = model.eval()(**tokenizer(text, return_tensors="pt")).logits[0]
        worst = max(worst, float((theirs - (one[: len(theirs)] if one.ndim > 1 else one)).abs().max()))
    return worst


@pytest.mark.parametrize("task", ["intent", "pii", "jailbreak"])
@pytest.mark.parametrize("family", FAMILIES)
def test_both_folders_open_in_stock_libraries(fit_of: Fits, tmp_path: Path, family: str, task: str) -> None:
    fit = fit_of(family, task)
    done = export_to_router(fit, tmp_path / "models", task)
    ending = "token_model" if task == "pii" else "model"
    prefix = {"intent": "intent_classifier", "pii": "pii_detector", "jailbreak": "jailbreak_classifier"}[task]
    name = f"lora_{prefix}_{WORDS.get(family, family)}_r4_{ending}"
    assert [folder.name for folder in done.folders] == [name, f"{name}_rust"]
    adapter, twin = done.folders
    model, loading = opener(task).from_pretrained(twin, output_loading_info=True)
    assert not loading["missing_keys"]
    assert far(model, twin, fit) < 1e-4
    config = transformers.AutoConfig.from_pretrained(adapter)
    named = read(adapter / "adapter_config.json")["base_model_name_or_path"]
    assert named == f"base-{family}"  # what its folder is called, and no path of this machine
    base = opener(task).from_pretrained(fit.parent / named, config=config)
    assert far(PeftModel.from_pretrained(base, adapter), adapter, fit) < 1e-4
    assert ROUTER_ORDER_WARNING in done.notes
    assert len(done.notes) == (3 if family == "deberta-v2" else 2)
    for folder in done.folders:
        assert verify_artifact(folder)["kind"] == "export"
    assert 0 <= verify_artifact(twin)["apart"] <= 1e-4


@pytest.mark.parametrize("task", ["intent", "pii", "jailbreak"])
def test_the_files_beside_the_weights(fit_of: Fits, tmp_path: Path, task: str) -> None:
    names = {
        "intent": ["card", "cash", "login"],
        "pii": ["O", "B-THING", "I-THING"],
        "jailbreak": ["benign", "jailbreak"],
    }
    file, to_id, to_label = {
        "intent": ("category_mapping.json", "category_to_idx", "idx_to_category"),
        "pii": ("pii_type_mapping.json", "label_to_idx", "idx_to_label"),
        "jailbreak": ("jailbreak_type_mapping.json", "label_to_idx", "idx_to_label"),
    }[task]
    forward = {name: i for i, name in enumerate(names[task])}
    back = {str(i): name for name, i in forward.items()}
    for folder in export_to_router(fit_of("bert", task), tmp_path, task).folders:
        assert read(folder / "label_mapping.json") == {"label_to_id": forward, "id_to_label": back}
        assert read(folder / file) == {to_id: forward, to_label: back}
        config = read(folder / "config.json")
        assert (config["label2id"], config["id2label"]) == (forward, back)
        assert config["architectures"] == [
            "BertForTokenClassification" if task == "pii" else "BertForSequenceClassification"
        ]
        lora = read(folder / "lora_config.json")
        assert (lora["rank"], lora["alpha"], lora["dropout"]) == (4, 6.0, 0.05)  # what was trained, and no default
        inner = read(fit_of("bert", task) / "adapter" / "adapter_config.json")
        assert sorted(lora["target_modules"]) == inner["target_modules"]
        assert lora["task_type"] == inner["task_type"] == ("TOKEN_CLS" if task == "pii" else "SEQ_CLS")
        assert lora["base_model"] == "base-bert"


def test_the_router_finds_what_was_exported(fit_of: Fits, tmp_path: Path) -> None:
    for family in ("bert", "roberta", "modernbert"):
        for task in ("intent", "pii", "jailbreak"):
            export_to_router(fit_of(family, task), tmp_path / "models", task, with_adapter=False)
    found = discover_models(tmp_path / "models")
    assert [model.problems for model in found.models] == [()] * 9
    assert (found.architecture, found.is_usable) == ("bert", True)
    assert {model.architecture for model in found.models} == {"bert", "roberta", "modernbert"}


def test_a_layer_of_ours_that_is_a_stock_head_is_exported(fit_of: Fits, tmp_path: Path) -> None:
    """On BERT the plain layer on every token is the stock token classifier's."""
    fit = fit_of("bert", "pii", "auto")
    twin = export_to_router(fit, tmp_path, None, with_adapter=False).folders[0]
    assert far(opener("pii").from_pretrained(twin), twin, fit) < 1e-4
    with pytest.raises(UnsupportedTask, match="no stock class has"):
        export_to_router(fit_of("modernbert", "pii", "auto"), tmp_path, None)


def test_an_exported_twin_is_taken_in_again(fit_of: Fits, tmp_path: Path) -> None:
    fit = fit_of("roberta", "pii")
    twin = export_to_router(fit, tmp_path, "pii").folders[1]
    import_folder(twin, tmp_path / "in")
    inputs = [{"text": text} for text in TEXTS]
    one, other = (
        predictor_files.load_predictor(folder, TorchBackbonePool()).predict(inputs, run_locally)
        for folder in (fit, tmp_path / "in")
    )
    assert [p.answer for p in one] == [p.answer for p in other]


def test_a_merge_that_answers_otherwise_is_not_kept(
    fit_of: Fits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_unmerged(folder: Path, encoder: Encoder, merge: bool) -> None:
        stock_layouts.write_stock_encoder(folder, encoder, merge=False)

    monkeypatch.setattr(router_layout, "write_stock_encoder", write_unmerged)
    with pytest.raises(ArtifactError, match="probabilities lie"):
        export_to_router(fit_of("bert", "intent"), tmp_path / "models", "intent")
    assert list((tmp_path / "models").iterdir()) == []


def test_an_operating_point_stays_behind_and_it_is_said(fit_of: Fits, tmp_path: Path) -> None:
    bare = fit_of("bert", "intent")
    with stage_artifact(tmp_path / "fit", {"contender": "lora-stock"}) as part:
        predictor_files.save_predictor(
            part,
            CalibratedPredictor(
                predictor_files.load_uncalibrated(bare, TorchBackbonePool()), OperatingPoint(temperature=2.0)
            ),
        )
    done = export_to_router(tmp_path / "fit", tmp_path / "models", "intent", with_adapter=False)
    assert done.notes == [WRITTEN_ALONE, POINT_NOT_EXPORTED]
    assert far(opener("intent").from_pretrained(done.folders[0]), done.folders[0], bare) < 1e-4


def test_validators_stay_behind_and_it_is_said(fit_of: Fits, tmp_path: Path) -> None:
    made: Any = predictor_files.load_uncalibrated(fit_of("bert", "pii"), TorchBackbonePool())
    armed = replace(made, span_rules=(SpanRule("THING", "keyword", ("cash",)),))
    with stage_artifact(tmp_path / "fit", {"contender": "lora-stock"}) as part:
        predictor_files.save_predictor(part, armed)
    assert export_to_router(tmp_path / "fit", tmp_path / "models", "pii", with_adapter=False).notes == [
        WRITTEN_ALONE,
        SPAN_RULES_NOT_EXPORTED,
    ]
    stock_layouts.write_stock_layouts(tmp_path, armed, FACTS)
    assert "What validators find stands in no stock class" in (tmp_path / "README.md").read_text(encoding="utf-8")


# ---- refused
def said(problem: pytest.ExceptionInfo[LoratoryError]) -> str:
    return str(problem.value)


def test_a_pooled_head_is_refused_with_the_remedy(fit_of: Fits, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTask) as caught:
        export_to_router(fit_of("bert", "intent", "pooled"), tmp_path / "models", "intent")
    assert "head: stock" in caught.value.remedy
    assert not (tmp_path / "models").exists()


def test_a_contender_without_an_adapter_is_refused(tmp_path: Path) -> None:
    made = Rules().fit(make_task(), make_train_set(), None, make_context())
    with stage_artifact(tmp_path / "fit", {}) as part:
        predictor_files.save_predictor(part, made)
    with pytest.raises(UnsupportedTask, match="this contender has none"):
        export_to_router(tmp_path / "fit", tmp_path / "models", "intent")
    with pytest.raises(ArtifactError, match="no files that PEFT and transformers open"):
        export_fit(ExportRequest(tmp_path / "fit", None, ("peft",), tmp_path / "out"))


@pytest.mark.parametrize(
    ("task", "name", "match"),
    [
        ("intent", None, "not told which"),
        ("intent", "pii", "'pii' does not fit"),
        ("pii", "intent", "'intent' does not fit"),
    ],
)
def test_a_task_that_does_not_fit(fit_of: Fits, tmp_path: Path, task: str, name: str | None, match: str) -> None:
    with pytest.raises(UnsupportedTask, match=match) as caught:
        export_to_router(fit_of("bert", task), tmp_path / "models", name)
    assert caught.value.allowed.startswith("pii for" if task == "pii" else "intent, jailbreak for")


def test_layouts_and_tasks_that_are_not_there(fit_of: Fits, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="did you mean 'router'"):
        export_fit(ExportRequest(fit_of("bert", "intent"), None, ("ruoter",), tmp_path / "out"))
    with pytest.raises(SpecError, match="did you mean 'jailbreak'"):
        export_to_router(fit_of("bert", "intent"), tmp_path / "out", "jailbrake")
    with pytest.raises(SpecError, match="unknown key 'task_name'"):
        export_fit(ExportRequest(fit_of("bert", "intent"), None, ("peft",), tmp_path / "out", {"task_name": "intent"}))
    (tmp_path / "file").write_text("x")
    with pytest.raises(ArtifactError, match="the output is a file"):
        export_to_router(fit_of("bert", "intent"), tmp_path / "file", "intent")


# ---- what is there
def test_the_same_command_writes_over_its_own(fit_of: Fits, tmp_path: Path) -> None:
    first = export_to_router(fit_of("bert", "intent"), tmp_path, "intent").folders
    assert export_to_router(fit_of("bert", "intent"), tmp_path, "intent").folders == first
    before = verify_artifact(first[0])["files"]
    copied = Path(shutil.copytree(fit_of("bert", "intent"), tmp_path / "another"))
    with pytest.raises(ArtifactError, match="does not say that this command made it"):
        export_to_router(copied, tmp_path, "intent")
    (first[1] / "notes.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="a file that this command did not write") as caught:
        export_to_router(fit_of("bert", "intent"), tmp_path, "intent")
    assert caught.value.where.endswith("notes.txt")
    assert verify_artifact(first[0])["files"] == before


def test_a_folder_of_somebody_else_is_left_alone(fit_of: Fits, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(ArtifactError, match="the output folder exists"):
        export_fit(ExportRequest(fit_of("bert", "intent"), None, ("peft",), tmp_path / "out"))


# ---- the command line
def ran(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_line_exports_and_discovers(fit_of: Fits, tmp_path: Path) -> None:
    models = tmp_path / "models"
    for task in ("intent", "pii", "jailbreak"):
        words = (
            "--to",
            "router",
            f"--set=task_name={task}",
            "--set=merged_only=true",
            "--output",
            models,
            "--json",
        )
        done = ran("export", fit_of("roberta", task), *words)
        assert done.exit_code == 0, done.output
        assert [Path(name).parent for name in json.loads(done.stdout)["folders"]] == [models]
    found = ran("discover", models, "--json")
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["architecture"] == "roberta"
    table = ran("discover", models)
    assert (table.stderr, table.exit_code) == ("", 0)
    assert "taken (*): roberta" in table.stdout
    (models / json.loads(found.stdout)["chosen"]["pii"] / "config.json").unlink()
    broken = ran("discover", models, "--json")
    assert json.loads(broken.stdout)["sound"] is False
    assert isinstance(broken.exception, ArtifactError)


# ---- --to peft
def test_the_stock_layout_is_copied_as_it_lies(fit_of: Fits, tmp_path: Path) -> None:
    fit, out = fit_of("bert", "pii"), tmp_path / "out"
    assert export_fit(ExportRequest(fit, None, ("peft",), out)).folders == [out]
    copied, known = verify_artifact(out)["files"], verify_artifact(fit)["files"]
    own = {"predictor.json", "task.json", "encoder.json", "head.safetensors"}
    made = {"certificate.json", "goldens.jsonl"}
    assert {name.partition("/")[0] for name in copied} == {"README.md", "adapter", "base_3", "merged", *own, *made}
    assert all(known[name] == digest for name, digest in copied.items() if name not in made)
    assert far(opener("pii").from_pretrained(out / "merged"), out / "merged", fit) < 1e-4


def test_a_fit_that_was_changed_is_not_copied(fit_of: Fits, tmp_path: Path) -> None:
    fit = Path(shutil.copytree(fit_of("bert", "intent"), tmp_path / "fit"))
    (fit / "merged" / "config.json").write_text("{}")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        export_fit(ExportRequest(fit, None, ("peft",), tmp_path / "out"))
    assert not (tmp_path / "out").exists()
