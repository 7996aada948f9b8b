"""The folder for transformers.js: its graph, its pipelines in Node and its page in a browser give the fit's answers."""

from __future__ import annotations

import functools
import http.server
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from export_fits import (
    LABELS,
    MAX_TOKENS,
    POINT,
    PROBES,
    export_graph_here,
    export_to,
    list_token_ids,
    make_label_encoder,
    make_span_encoder,
    predict_probabilities,
    save_fit,
)
from loratory.artifacts.manifests import verify_artifact
from loratory.backbones.forward.execution import run_locally
from loratory.errors import BaseModelError, SpecError, UnsupportedTask
from loratory.experiment.export_fit import load_exporter
from loratory.exporting.transformers_js import classifier_graph
from loratory.exporting.transformers_js.layout import ROUNDED_FILE
from loratory.exporting.transformers_js.model import open_graph
from loratory.predictors.calibrated import (
    CalibratedPredictor,
    OperatingPoint,
    choose_labels,
    score_in_scope,
)
from loratory.predictors.encoder import Encoder
from loratory.protocols import EncodeRequest
from node_programs import find_node_modules, run_node
from tiny_models import BackboneOf

pytest.importorskip("onnxruntime", reason="the extra int8 is not installed")
pytest.importorskip("onnxscript", reason="the extra int8 is not installed")
FORMAT = "transformers-js"
TRANSFORMERS = "@huggingface/transformers"
MAX_DIFFERENCE = 1e-5  # of a probability, of the float32 graph
MAX_ROUNDED = 0.05  # of the rounded one: tiny random models; MiniLM has 0.013
FAMILIES = (("bert", "pooled"), ("bert", "spans"), ("roberta", "stock"))
MORE = [*((name, "pooled") for name in ("distilbert", "deberta-v2", "modernbert", "mpnet", "albert", "roformer"))]
MORE += [("modernbert", "spans"), ("distilbert", "stock"), ("deberta-v2", "spans")]
Made = tuple[Encoder, Path]


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier_graph, "subprocess", SimpleNamespace(run=export_graph_here))


@pytest.fixture(scope="module")
def exported(backbone_of: BackboneOf, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Made]:
    """A family's fit and its folder, made when first asked for."""
    home = tmp_path_factory.mktemp("transformers-js")
    known: dict[tuple[str, str], Encoder] = {}

    def make(family: str, head: str) -> Made:
        name = f"{family}-{head}"
        if (family, head) not in known:
            backbone = backbone_of(family)
            encoder = make_span_encoder(backbone) if head == "spans" else make_label_encoder(backbone, head)
            fit = save_fit(home / f"fit-{name}", encoder, None if head == "spans" else POINT)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(classifier_graph, "subprocess", SimpleNamespace(run=export_graph_here))
                export_to(fit, FORMAT, home / name)
            known[family, head] = encoder
        return known[family, head], home / name

    return make


def compute_token_probabilities(encoder: Encoder) -> list[np.ndarray[Any, Any]]:
    """float64[T, L] of the first row of each probe text."""
    made = run_locally([EncodeRequest(encoder.network, ids) for ids in list_token_ids(encoder)])
    return [
        row[: len(ids)].double().softmax(-1).numpy() for row, ids in zip(made, list_token_ids(encoder), strict=True)
    ]


def expect(encoder: Encoder) -> list[np.ndarray[Any, Any]]:
    per_token = encoder.output_adapter.stock_names.per_token
    return compute_token_probabilities(encoder) if per_token else list(predict_probabilities(encoder, POINT))


def largest_difference(found: Sequence[Any], expected: Sequence[Any]) -> float:
    return max(float(np.abs(np.asarray(a) - b).max()) for a, b in zip(found, expected, strict=True))


# ---- the graph
@pytest.mark.parametrize(("family", "head"), [*FAMILIES, *(pytest.param(*one, marks=pytest.mark.slow) for one in MORE)])
def test_the_graph_gives_the_fit_s_probabilities(family: str, head: str, exported: Callable[[str, str], Made]) -> None:
    encoder, folder = exported(family, head)
    verify_artifact(folder)
    model = load_exporter(FORMAT).open(folder)
    stages = model.run_stages(PROBES)
    assert [one.tokens for one in stages] == list_token_ids(encoder)
    assert largest_difference([one.probabilities for one in stages], expect(encoder)) < MAX_DIFFERENCE
    rounded = open_graph(folder, ROUNDED_FILE).run_stages(PROBES)
    apart = largest_difference([one.probabilities for one in rounded], expect(encoder))
    assert 1e-7 < apart < MAX_ROUNDED


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["cls", "max", "last"])
def test_each_pooling_is_in_the_graph(pooling: str, backbone_of: BackboneOf, tmp_path: Path, in_process: None) -> None:
    encoder = make_label_encoder(backbone_of("bert"))
    encoder.network.head.pooling = pooling  # type: ignore[union-attr]
    export_to(save_fit(tmp_path / "fit", encoder), FORMAT, tmp_path / "out", quantized=False)
    model: Any = load_exporter(FORMAT).open(tmp_path / "out")
    stages = model.run_stages(PROBES)
    assert largest_difference([one.probabilities for one in stages], expect_plain(encoder)) < MAX_DIFFERENCE
    alone = [model.run_stages([text])[0].probabilities for text in PROBES]
    assert largest_difference(alone, expect_plain(encoder)) < MAX_DIFFERENCE


@pytest.mark.parametrize(("family", "head"), FAMILIES[:2])
def test_a_text_is_answered_the_same_in_company(family: str, head: str, exported: Callable[[str, str], Made]) -> None:
    """Padding is hidden by the mask in both graphs, and rounding knows of no neighbours."""
    _, folder = exported(family, head)
    for file in ("onnx/model.onnx", ROUNDED_FILE):
        model = open_graph(folder, file)
        for text, together in zip(PROBES, model.run_stages(PROBES), strict=True):
            (alone,) = model.run_stages([text])
            assert together.tokens == alone.tokens
            assert largest_difference([together.probabilities], [alone.probabilities]) < MAX_DIFFERENCE


def test_the_graph_is_written_in_a_process_of_its_own(backbone_of: BackboneOf, tmp_path: Path) -> None:
    encoder = make_label_encoder(backbone_of("bert"))
    export_to(save_fit(tmp_path / "fit", encoder), FORMAT, tmp_path / "out", quantized=False)
    assert not (tmp_path / "out" / ROUNDED_FILE).exists()
    stages = load_exporter(FORMAT).open(tmp_path / "out").run_stages(PROBES)
    assert largest_difference([one.probabilities for one in stages], expect_plain(encoder)) < MAX_DIFFERENCE


def expect_plain(encoder: Encoder) -> list[np.ndarray[Any, Any]]:
    return list(predict_probabilities(encoder))


def test_a_row_that_was_cut_without_its_last_token_is_mended(exported: Callable[[str, str], Made]) -> None:
    """transformers.js cuts a row behind the special tokens: the one that ends it is lost."""
    encoder, folder = exported("bert", "pooled")
    model = load_exporter(FORMAT).open(folder)
    whole, torn = (np.array([list_token_ids(encoder)[-1]]) for _ in range(2))
    assert whole.shape == (1, MAX_TOKENS)
    torn[0, -1] = torn[0, 3]
    run = model.session.run  # type: ignore[attr-defined]
    mended, expected = (
        run(["logits"], {"input_ids": row, "attention_mask": np.ones_like(row)})[0] for row in (torn, whole)
    )
    assert (mended == expected).all()
    torn[0, -2] = torn[0, 3]
    other = run(["logits"], {"input_ids": torn, "attention_mask": np.ones_like(torn)})[0]
    assert (other != expected).any(), "any other token counts"


# ---- the files
def test_the_files_say_what_pipelines_read(exported: Callable[[str, str], Made]) -> None:
    _, folder = exported("bert", "pooled")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["id2label"] == dict(zip("012", LABELS, strict=True))
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert (tokenizer["truncation"]["max_length"], settings["model_max_length"]) == (40, 40)
    assert tokenizer["padding"] is None
    facts = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    assert facts["operating_point"] == POINT.to_dict()
    assert "FOLDER" in (folder / "README.md").read_text(encoding="utf-8")


def test_what_it_cannot_do_is_refused(backbone_of: BackboneOf, tmp_path: Path) -> None:
    refused = {
        "llama": make_label_encoder(backbone_of("llama")),
        "windows": make_label_encoder(backbone_of("bert"), long="windows"),
    }
    for name, encoder in refused.items():
        with pytest.raises(UnsupportedTask, match=name):
            export_to(save_fit(tmp_path / name, encoder), FORMAT, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    good = save_fit(tmp_path / "good", make_label_encoder(backbone_of("bert")))
    with pytest.raises(SpecError, match="is not there"):
        export_to(good, FORMAT, tmp_path / "out", runtime=tmp_path)
    assert not (tmp_path / "out").exists()


def test_an_architecture_that_has_no_graph_leaves_nothing(
    backbone_of: BackboneOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no such operator\nand more")

    monkeypatch.setattr(classifier_graph, "write_graph", refuse)
    fit = save_fit(tmp_path / "fit", make_label_encoder(backbone_of("bert")))
    with pytest.raises(BaseModelError, match="RuntimeError: no such operator"):
        export_to(fit, FORMAT, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---- Node
@pytest.mark.parametrize(("family", "head"), FAMILIES)
def test_pipelines_in_node_give_the_fit_s_answers(
    family: str, head: str, exported: Callable[[str, str], Made], tmp_path: Path
) -> None:
    modules = find_node_modules(TRANSFORMERS)
    encoder, folder = exported(family, head)
    (tmp_path / "texts.json").write_text(json.dumps(PROBES), encoding="utf-8")
    task = "token-classification" if head == "spans" else "text-classification"
    for dtype, most in (("fp32", MAX_DIFFERENCE), ("q8", MAX_ROUNDED)):
        made = run_node("pipelines.mjs", folder, task, dtype, tmp_path / "texts.json", modules=modules)
        for ids, own in zip(made["ids"], list_token_ids(encoder), strict=True):
            assert tuple(ids[:-1]) == own[:-1]
            assert ids[-1] == own[-1] or len(own) == MAX_TOKENS, "only a cut row ends otherwise: the graph mends it"
        for answers in (made["alone"], made["together"]):
            found = [{one["label"] if head != "spans" else one["index"]: one for one in row} for row in answers]
            for mine, expected in zip(found, expect(encoder), strict=True):
                _compare(mine, expected, encoder, most)


def _compare(mine: dict[Any, Any], expected: np.ndarray[Any, Any], encoder: Encoder, most: float) -> None:
    """Labels with their probabilities, or of each token the likeliest tag with its own."""
    names = encoder.output_adapter.list_output_names(encoder.task)
    if expected.ndim == 1:
        assert np.abs(np.array([mine[label]["score"] for label in names]) - expected).max() < most
        return
    for place, one in mine.items():
        assert abs(one["score"] - expected[place].max()) < most
        if np.ptp(np.sort(expected[place])[-2:]) > 2 * most:
            assert one["entity"] == names[int(expected[place].argmax())]


def test_the_page_s_rule_is_that_of_serving(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    cases, expected = [], []
    for _ in range(300):
        logits = rng.normal(size=3) * 2
        picked = [label for label in LABELS if rng.random() < 0.6]
        score = rng.choice(["confidence", "margin", "entropy", "energy", "prototype", "none"])
        point = OperatingPoint(
            temperature=float(rng.uniform(0.5, 2)),
            thresholds={label: float(rng.uniform(0.1, 0.8)) for label in picked},
            score=None if score == "none" else str(score),
            least={"confidence": 0.6, "margin": 0.3, "entropy": -0.8, "energy": 1.0, "prototype": 0.2}.get(
                score, -np.inf
            ),
            rule="odds" if rng.random() < 0.5 else "share",
        )
        head = {"scale": 5.0, "bias": [0.1, -0.2, 0.0]}
        raw = torch.tensor(logits * point.temperature)
        known = {"energy": float(raw.logsumexp(0)), "prototype": float(((raw - torch.tensor(head["bias"])) / 5).max())}
        shares = torch.tensor(logits).softmax(0).numpy()[None]
        (place,) = choose_labels(point, LABELS, shares, score_in_scope(point.score, shares, [known]))
        expected.append(None if place < 0 else LABELS[place])
        facts = {"labels": LABELS, "temperature": point.temperature, "operating_point": point.to_dict()}
        cases.append({"facts": {**facts, "pooled_head": head}, "logits": logits.tolist()})
    (tmp_path / "cases.json").write_text(json.dumps(cases), encoding="utf-8")
    page = Path(classifier_graph.__file__).parents[1] / "static" / "index.html"
    assert run_node("choose.mjs", page, tmp_path / "cases.json") == expected
    assert {None, *LABELS} == set(expected)


# ---- the browser
@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server of static files over `tmp_path / "site"`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def open_page(browser: Any, address: str, query: str = "") -> tuple[Any, list[str]]:
    """The page when it is ready or has failed, and whatever it asked of other servers."""
    page, strange = browser.new_page(viewport={"width": 380, "height": 800}), []

    def refuse_strangers(route: Any) -> None:
        if route.request.url.startswith((address, "blob:", "data:")):
            route.continue_()
            return
        strange.append(route.request.url)
        route.abort()

    page.route("**/*", refuse_strangers)
    page.goto(address + query)
    page.wait_for_selector('#state:has-text("Ready"), #problem:not([hidden])', timeout=60_000)
    return page, strange


@pytest.mark.parametrize("head", ["pooled", "spans"])
def test_the_page_answers_in_a_browser_without_a_network(
    head: str, backbone_of: BackboneOf, browser: Any, address: str, tmp_path: Path, in_process: None
) -> None:
    modules = find_node_modules(TRANSFORMERS)
    backbone = backbone_of("bert")
    encoder = make_span_encoder(backbone) if head == "spans" else make_label_encoder(backbone)
    fit = save_fit(tmp_path / "fit", encoder, None if head == "spans" else POINT)
    export_to(fit, FORMAT, tmp_path / "site", runtime=modules)
    page, strange = open_page(browser, address, "?dtype=fp32")
    assert page.is_hidden("#problem"), page.inner_text("#problem")
    text = PROBES[1]
    page.fill("#text", text)
    page.click("#go")
    page.wait_for_selector("#result:not([hidden])")
    rows = [row.inner_text().split() for row in page.query_selector_all("#rows tr")]
    if head == "pooled":
        (made,) = CalibratedPredictor(encoder, POINT).predict([{"text": text}], run_locally)
        assert made.answer is not None
        assert page.inner_text("#answer") == made.answer["label"]
        expected = {label: f"{100 * p:.1f}" for label, p in made.probabilities["/label"].items()}
        assert {row[0]: row[1] for row in rows} == expected
    else:
        assert page.inner_text("#answer").startswith(f"{len(rows)} span")
    assert strange == []
    width = page.query_selector("main").bounding_box()["width"]
    assert width <= 380
    page.close()


def test_the_page_without_its_runtime_says_what_to_do(
    backbone_of: BackboneOf, browser: Any, address: str, tmp_path: Path, in_process: None
) -> None:
    fit = save_fit(tmp_path / "fit", make_label_encoder(backbone_of("bert")))
    notes = export_to(fit, FORMAT, tmp_path / "site").notes
    assert any("npm install" in note for note in notes)
    page, _ = open_page(browser, address)
    assert "npm install" in page.inner_text("#problem")
    assert page.is_disabled("#go")
    page.close()
