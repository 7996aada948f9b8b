"""What is exported answers the same where strangers open it, or says that it cannot; and it opens here again."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tokenizers
import torch
import transformers
from typer.testing import CliRunner

from loratory.artifacts.manifests import extend_artifact, stage_artifact
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.backbones.pool import TorchBackbonePool
from loratory.cli import app
from loratory.errors import ArtifactError
from loratory.experiment.artifact_lookup import open_predictor
from loratory.experiment.export_fit import ExportRequest, export_fit
from loratory.exporting import stock_layouts
from loratory.importing.import_folder import import_folder
from loratory.predictors import predictor_files
from loratory.predictors.calibrated import CalibratedPredictor, OperatingPoint
from loratory.predictors.encoder import Encoder
from loratory.predictors.output_adapters import load_output_adapter
from loratory.protocols import Network, Prediction
from loratory.tasks.classify import Classify
from loratory.tasks.tag import Tag
from tiny_models import load_backbone_from, make_random_adapter, save_base

PLACES = 320
TASKS: dict[str, Any] = {
    "labels": Classify(labels=("card", "cash", "login")),
    "spans": Tag(labels=("THING", "PLACE"), whole_words=True),
}
FACTS = {
    "run": "toy",
    "contender": "lora",
    "regime": "lora",
    "base": "minilm",
    "data": "toy.csv",
    "scores": {"f2": 1.0},
}
WORDS = "my card was blocked and no cash came out since monday, the login code is late; please help".split()
TEXTS = ("my card", " ".join(WORDS), " ".join(WORDS * 12), " ".join(WORDS[:9] * 30 + WORDS[9:] * 9), "cash")
INPUTS = [{"text": text} for text in TEXTS]


def long_base(folder: Path, family: str) -> Path:
    """A base of 320 tokens whose tokenizer.json cuts at 16 and pads to 16, as MiniLM's does at 128."""
    save_base(folder, family, max_position_embeddings=PLACES + (2 if family == "roberta" else 0))
    file, other = folder / "tokenizer.json", folder / "tokenizer_config.json"
    made: Any = tokenizers.Tokenizer.from_file(str(file))
    made.enable_truncation(max_length=16)
    made.enable_padding(length=16, pad_token=made.id_to_token(0))
    made.save(str(file))
    raw = {**json.loads(other.read_text(encoding="utf-8")), "model_max_length": PLACES, "padding_side": "left"}
    other.write_text(json.dumps(raw), encoding="utf-8")
    return folder


def fit_on(backbone: EncoderBackbone, form: str, head: str, most: int, long: str = "head") -> Encoder:
    """A LoRA fit with weights by chance, which answers otherwise for texts that are cut elsewhere."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made: Any = load_output_adapter(form).build_head(head, TASKS[form], backbone)
        for weight in made.parameters():
            torch.nn.init.normal_(weight.data, std=0.4)
    network = Network(backbone, make_random_adapter(backbone), made.requires_grad_(False).eval())
    return Encoder(TASKS[form], form, network, most, 99, long_text_mode=long)


Fits = Callable[..., tuple[Encoder, Path]]


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> Fits:
    """A fit and its artifact with all layouts, made when first asked for."""
    home = tmp_path_factory.mktemp("strangers")
    known: dict[tuple[Any, ...], tuple[Encoder, Path]] = {}

    def fit_and_export(family: str, form: str, head: str, most: int = 256, long: str = "head") -> tuple[Encoder, Path]:
        asked = (family, form, head, most, long)
        if asked not in known:
            base = home / f"base-{family}"
            backbone = load_backbone_from(base if base.exists() else long_base(base, family))
            fit, folder = fit_on(backbone, form, head, most, long), home / "-".join(map(str, asked))
            with stage_artifact(folder, {"kind": "fit", "contender": "lora"}) as part:
                predictor_files.save_predictor(part, fit)
            with extend_artifact(folder) as part:
                stock_layouts.write_stock_layouts(part, fit, FACTS)
            known[asked] = fit, folder
        return known[asked]

    return fit_and_export


def ids_of(encoder: Encoder) -> list[list[list[int]]]:
    return [[list(ids) for ids, _ in rows] for rows in encoder.encode_rows(INPUTS)]


def list_probabilities(made: Sequence[Prediction]) -> list[Any]:
    return [one.probabilities for one in made]


def close(some: Sequence[Prediction], other: Sequence[Prediction]) -> None:
    assert [one.answer for one in some] == [one.answer for one in other]
    for mine, theirs in zip(list_probabilities(some), list_probabilities(other), strict=True):
        assert mine.keys() == theirs.keys()
        for place in mine:
            assert theirs[place] == pytest.approx(mine[place], abs=1e-5)


# ---- tokenizers
@pytest.mark.parametrize("most", [64, 256, 9999])
@pytest.mark.parametrize(
    ("family", "form", "head", "long"),
    [
        ("bert", "labels", "pooled", "head"),
        ("bert", "labels", "pooled", "windows"),
        ("bert", "labels", "stock", "head"),
        ("bert", "spans", "token", "head"),
        ("qwen3", "labels", "stock", "head"),  # byte-level pairs
        ("llama", "spans", "token", "head"),
    ],
)
def test_other_libraries_read_the_ids_that_the_fit_read(
    fits: Fits, family: str, form: str, head: str, long: str, most: int
) -> None:
    encoder, folder = fits(family, form, head, most, long)
    wanted = ids_of(encoder)
    assert max(len(rows[0]) for rows in wanted) == min(most, PLACES)
    for inner in ("merged", "base_3" if form == "labels" else "base_5"):
        plain = tokenizers.Tokenizer.from_file(str(folder / inner / "tokenizer.json"))
        for text, rows in zip(TEXTS, wanted, strict=True):
            read = plain.encode(text)
            assert [read.ids, *(one.ids for one in read.overflowing)][: len(rows)] == rows
        theirs = transformers.AutoTokenizer.from_pretrained(folder / inner)
        assert theirs(list(TEXTS), truncation=True)["input_ids"] == [rows[0] for rows in wanted]
        raw = json.loads((folder / inner / "tokenizer_config.json").read_text(encoding="utf-8"))
        assert (raw["model_max_length"], raw["padding_side"]) == (min(most, PLACES), "right")
        assert not {"max_length", "name_or_path"} & raw.keys()


def test_an_export_cuts_as_the_fit_whatever_was_read_last(fits: Fits, tmp_path: Path) -> None:
    encoder, _ = fits("bert", "labels", "pooled", 64)
    tokenizer: Any = encoder.network.backbone.tokenizer
    tokenizer.tokenizer("a b", padding="max_length", max_length=7, truncation=True)
    encoder.save_tokenizer(tmp_path)
    raw = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert raw["truncation"]["max_length"] == 64
    assert raw["padding"] is None
    tokenizer.save(tmp_path)  # of a model that writes: nothing is cut
    raw = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert (raw["truncation"], raw["padding"]) == (None, None)


def test_a_copy_of_the_base_reads_as_much_as_the_base(fits: Fits, tmp_path: Path) -> None:
    """Two fits on one base that is gone share the backbone of the first's copy, which was cut for the first alone."""
    short, long = fits("bert", "labels", "pooled", 64), fits("bert", "labels", "pooled", 256)
    pool = TorchBackbonePool()
    for number, (encoder, folder) in enumerate((short, long)):
        copy = tmp_path / str(number)
        facts = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
        facts["backbone"]["name"] = "gone"
        with stage_artifact(copy, {}) as part:
            shutil.copytree(folder, part, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
            (part / "encoder.json").write_text(json.dumps(facts), encoding="utf-8")
        close(
            predictor_files.load_predictor(copy, pool).predict(INPUTS, run_locally),
            encoder.predict(INPUTS, run_locally),
        )


# ---- stock pipelines
def test_the_pipeline_gives_our_probabilities_on_long_texts(fits: Fits) -> None:
    for family in ("bert", "qwen3"):
        encoder, folder = fits(family, "labels", "stock")
        classify: Any = transformers.pipeline("text-classification", str(folder / "merged"), top_k=None)
        for text, ours in zip(TEXTS, encoder.predict(INPUTS, run_locally), strict=True):
            (rows,) = classify([text], truncation=True)
            theirs = {row["label"]: row["score"] for row in rows}
            assert theirs == pytest.approx(ours.probabilities["/label"], abs=1e-5)


@pytest.mark.parametrize(("family", "form", "head"), [("bert", "labels", "pooled"), ("modernbert", "spans", "token")])
def test_a_backbone_is_no_classifier_and_stock_pipelines_fail(fits: Fits, family: str, form: str, head: str) -> None:
    """With labels in config.json they would answer from a layer of random weights."""
    _, folder = fits(family, form, head)
    for inner in ("merged", "base_3" if form == "labels" else "base_5"):
        config = json.loads((folder / inner / "config.json").read_text(encoding="utf-8"))
        assert config["architectures"] == [{"bert": "BertModel", "modernbert": "ModernBertModel"}[family]]
        assert not {"num_labels", "problem_type"} & config.keys()
        assert (config["id2label"], config["label2id"]) == ({}, {})
        card = (folder / inner / "README.md").read_text(encoding="utf-8")
        assert "pipeline_tag: t" not in card
        assert "stock classifiers and pipelines cannot answer with this folder" in card
        assert "loratory predict FOLDER" in card
        transformers.AutoModel.from_pretrained(folder / inner)
        for kind in ("text-classification", "token-classification"):
            made: Any = transformers.pipeline(kind, str(folder / inner))
            with pytest.raises(ValueError, match=r"empty|zero"):
                made("my card was blocked", **({"truncation": True} if kind == "text-classification" else {}))


# ---- here again
HEADS = [
    ("bert", "labels", "pooled", "head"),
    ("bert", "labels", "pooled", "windows"),
    ("bert", "labels", "stock", "ends"),
    ("bert", "spans", "token", "head"),
    ("modernbert", "spans", "token", "head"),
]


@pytest.mark.parametrize(("family", "form", "head", "long"), HEADS)
def test_every_layout_is_taken_in_again(
    fits: Fits, tmp_path: Path, family: str, form: str, head: str, long: str
) -> None:
    encoder, folder = fits(family, form, head, 256, long)
    ours = encoder.predict(INPUTS, run_locally)
    assert any(one.answer for one in ours)
    out = tmp_path / "out"
    export_fit(ExportRequest(folder, None, ("peft",), out))
    base = "base_3" if form == "labels" else "base_5"
    two = tmp_path / "two"
    for name in ("adapter", base):
        shutil.copytree(out / name, two / name)
    alone = shutil.copytree(out / "merged", tmp_path / "alone")
    for number, given in enumerate((folder, out, out / "merged", alone, two)):
        import_folder(Path(given), tmp_path / f"in-{number}")
        close(ours, open_predictor(tmp_path / f"in-{number}")[0].predict(INPUTS, run_locally))
    for given in (out, out / "merged", out / "adapter", folder / base):
        close(ours, open_predictor(given)[0].predict(INPUTS, run_locally))


def test_an_export_answers_at_the_operating_point(fits: Fits, tmp_path: Path) -> None:
    encoder, _ = fits("bert", "labels", "pooled")
    operated = CalibratedPredictor(encoder, OperatingPoint(temperature=2.0))
    with stage_artifact(tmp_path / "fit", {"contender": "lora"}) as part:
        predictor_files.save_predictor(part, operated)
        stock_layouts.write_stock_layouts(part, encoder, FACTS)
    done = export_fit(ExportRequest(tmp_path / "fit", None, ("peft",), tmp_path / "out"))
    assert any("operating" in note or "point" in note for note in done.notes)
    close(operated.predict(INPUTS, run_locally), open_predictor(tmp_path / "out")[0].predict(INPUTS, run_locally))


def test_the_routers_twin_answers_here(fits: Fits, tmp_path: Path) -> None:
    for form, head, task in (("labels", "stock", "intent"), ("spans", "token", "pii")):
        encoder, folder = fits("bert", form, head)
        twin = export_fit(
            ExportRequest(folder, None, ("router",), tmp_path / form, {"task_name": task, "merged_only": True})
        ).folders[0]
        close(encoder.predict(INPUTS, run_locally), open_predictor(twin)[0].predict(INPUTS, run_locally))
        done = CliRunner().invoke(app, ["predict", str(twin), TEXTS[2], "--json"])
        assert done.exit_code == 0, done.output
        (twin / "config.json").write_text("{}", encoding="utf-8")
        with pytest.raises(ArtifactError, match="SHA-256 differs"):
            open_predictor(twin)


def test_the_routers_adapter_is_taken_in_over_its_base(fits: Fits, tmp_path: Path) -> None:
    encoder, folder = fits("bert", "labels", "stock")
    adapter = export_fit(
        ExportRequest(folder, None, ("router",), tmp_path / "models", {"task_name": "intent"})
    ).folders[0]
    import_folder(adapter, tmp_path / "in", base=str(folder.parent / "base-bert"))
    close(encoder.predict(INPUTS, run_locally), open_predictor(tmp_path / "in")[0].predict(INPUTS, run_locally))


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"form": "spans"},
        {"max_tokens": 0},
        {"max_tokens": "many"},
        {"long": "never"},
        {"pooling": []},
        {"kind": ["pooled"]},
    ],
)
def test_a_head_that_is_not_meant_is_refused(fits: Fits, tmp_path: Path, change: dict[str, Any]) -> None:
    _, folder = fits("bert", "labels", "pooled")
    broken = Path(shutil.copytree(folder / "merged", tmp_path / "merged"))
    raw = {**json.loads((broken / "head.json").read_text(encoding="utf-8")), **change}
    (broken / "head.json").write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(ArtifactError, match="does not say what its head is"):
        import_folder(broken, tmp_path / "in")


def test_a_head_of_another_export_is_refused(fits: Fits, tmp_path: Path) -> None:
    _, folder = fits("bert", "labels", "pooled")
    broken = Path(shutil.copytree(folder / "merged", tmp_path / "merged"))
    shutil.copyfile(fits("bert", "spans", "token")[1] / "head.safetensors", broken / "head.safetensors")
    with pytest.raises(ArtifactError, match="the head does not fit 3 outputs of states of 32"):
        import_folder(broken, tmp_path / "in")


# ---- cards
def blocks(card: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize(
    ("family", "form", "head"), [("bert", "labels", "pooled"), ("bert", "spans", "token"), ("bert", "labels", "stock")]
)
def test_what_the_cards_show_runs(
    fits: Fits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, form: str, head: str
) -> None:
    encoder, folder = fits(family, form, head)
    cards = [(card, folder) for card in sorted(folder.rglob("README.md"))]
    assert len(cards) == 4
    if encoder.stock_head is not None:
        task = "pii" if form == "spans" else "intent"
        routed = export_fit(ExportRequest(folder, None, ("router",), tmp_path, {"task_name": task})).folders
        os.symlink(folder.parent / "base-bert", tmp_path / "base-bert")
        cards += [(one / "README.md", tmp_path) for one in routed]
    ran = 0
    for card, where in cards:
        assert str(folder.parent) not in card.read_text(encoding="utf-8")
        monkeypatch.chdir(where)
        for block in blocks(card):
            exec(compile(block, str(card), "exec"), {})
            ran += 1
    assert ran == len(cards) - 1  # the first has the command line alone


def test_nothing_that_is_exported_names_a_place_of_this_machine(fits: Fits, tmp_path: Path) -> None:
    _, folder = fits("bert", "labels", "stock")
    for one in export_fit(
        ExportRequest(folder, None, ("router",), tmp_path / "models", {"task_name": "intent"})
    ).folders:
        for file in (*one.rglob("*.json"), *one.rglob("*.md")):
            assert str(folder.parent) not in file.read_text(encoding="utf-8"), file
