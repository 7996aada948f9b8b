"""Every exporter that is discovered, over fits of several kinds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export_fits import export_graph_here, make_decoder, save_fit
from loratory.artifacts.manifests import extend_artifact, open_artifact, stage_artifact
from loratory.backbones.pool import TorchBackbonePool
from loratory.discovery import list_names
from loratory.experiment.export_fit import load_exporter
from loratory.exporting import stock_layouts
from loratory.exporting.contract_checks import verify_exporter
from loratory.exporting.export_target import StagedTarget, describe_export
from loratory.exporting.transformers_js import classifier_graph
from loratory.predictors import predictor_files
from loratory.protocols import Predictor
from loratory.regimes.lora import Lora
from loratory.regimes.majority import Majority
from loratory.regimes.tfidf import Tfidf
from tiny_models import load_backbone_from, make_context, make_task, make_train_set, save_base

FACTS = {"run": "toy", "contender": "x", "regime": "x", "base": None, "data": "toy.csv", "scores": {"accuracy": 0.5}}
REGIMES: dict[str, Callable[[], Any]] = {
    "majority": Majority,
    "tfidf": Tfidf,
    "lora": lambda: Lora(rank=2),
    "lora-stock": lambda: Lora(rank=2, head="stock"),
}
OPTIONS = {"router": {"task_name": "intent"}}
SUITS = {
    "peft": {"lora", "lora-stock", "writer"},
    "router": {"lora-stock"},
    "onnx": {"lora", "lora-stock"},
    "sentence-transformers": {"lora"},
    "transformers-js": {"lora", "lora-stock"},
    "gguf": {"writer"},
    "vllm": {"writer"},
}
NEEDS = {"sentence-transformers": "sentence_transformers", "transformers-js": "onnxscript", "gguf": "gguf"}


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("fits")
    base = load_backbone_from(save_base(home / "base", "bert"))
    made = {}
    for name, regime in REGIMES.items():
        start = base if name.startswith("lora") else None
        predictor = regime().fit(make_task(), make_train_set(), start, make_context(epochs=1, max_tokens=40))
        made[name] = home / name
        with stage_artifact(made[name], {"kind": "fit", "contender": name, "seed": 1}) as part:
            predictor_files.save_predictor(part, predictor)
        with extend_artifact(made[name]) as part:
            stock_layouts.write_stock_layouts(part, predictor, {**FACTS, "base": "bert" if start else None})
    made["writer"] = save_fit(home / "writer", make_decoder(home / "causal"))
    with extend_artifact(made["writer"]) as part:
        stock_layouts.write_stock_layouts(part, load_fit(made["writer"]), {**FACTS, "base": "llama"})
    return made


@pytest.fixture(scope="module")
def exact_members(fits: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path | None]:
    """The folder of a fit in the exact form of an exporter, made when it is first asked for."""
    home = tmp_path_factory.mktemp("exact")

    def export_exact(form: str, fit: str) -> Path | None:
        exporter, artifact = load_exporter(form), open_artifact(fits[fit])
        if exporter.check_support(artifact) is not None:
            return None
        target = StagedTarget(home / form / fit, describe_export(artifact, fits[fit], form))
        if not target.output.exists():
            exporter.export(artifact, target, exporter.Options())
        return target.output

    return export_exact


def load_fit(folder: Path) -> Predictor:
    return predictor_files.load_predictor(folder, TorchBackbonePool())


@pytest.mark.parametrize("name", list_names("exporters"))
def test_it_exports_what_suits_and_refuses_the_rest(
    name: str,
    fits: dict[str, Path],
    exact_members: Callable[[str, str], Path | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if library := NEEDS.get(name):
        pytest.importorskip(library, reason=f"{library} is not installed")
    monkeypatch.setattr(classifier_graph, "subprocess", SimpleNamespace(run=export_graph_here))
    exporter = load_exporter(name)
    suits = set()
    for fit, folder in fits.items():
        exact = exact_members(exporter.exact_form, fit) if exporter.exact_form else None
        if verify_exporter(exporter, folder, tmp_path / fit, OPTIONS.get(name), exact):
            suits.add(fit)
    assert suits == SUITS.get(name, suits)
    assert suits
