"""A pooled head as modules of sentence-transformers: the stock class gives the fit's logits, the loader its answers."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from export_fits import (
    LABELS,
    POINT,
    PROBES,
    export_to,
    list_token_ids,
    make_label_encoder,
    make_span_encoder,
    predict_probabilities,
    save_fit,
)
from loratory.artifacts.manifests import verify_artifact
from loratory.errors import UnsupportedTask
from loratory.experiment.export_fit import load_exporter
from loratory.predictors.heads import PooledHead
from tiny_models import BackboneOf

st = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
MAX_DIFFERENCE = 2e-5  # of a probability: float32 sums in another order
FORMAT = "sentence-transformers"


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert", "deberta-v2", "modernbert", "mpnet", "llama"])
def test_the_stock_class_gives_the_fit_s_probabilities(family: str, backbone_of: BackboneOf, tmp_path: Path) -> None:
    encoder = make_label_encoder(backbone_of(family))
    fit = save_fit(tmp_path / "fit", encoder, POINT)
    export_to(fit, FORMAT, tmp_path / "out")
    verify_artifact(tmp_path / "out")

    expected = predict_probabilities(encoder, POINT)
    logits = torch.tensor(st.SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(list(PROBES))).double()
    assert np.abs((logits / POINT.temperature).softmax(-1).numpy() - expected).max() < MAX_DIFFERENCE
    stages = load_exporter(FORMAT).open(tmp_path / "out").run_stages(PROBES)
    assert [one.tokens for one in stages] == list_token_ids(encoder)
    found = np.stack([one.probabilities for one in stages if one.probabilities is not None])
    assert np.abs(found - expected).max() < MAX_DIFFERENCE
    assert np.ptp(expected, axis=0).max() > 0.1, "the fit says the same of every text: nothing was compared"


@pytest.mark.parametrize("pooling", ["cls", "max", "last"])
def test_each_pooling_is_the_library_s(pooling: str, backbone_of: BackboneOf, tmp_path: Path) -> None:
    encoder = make_label_encoder(backbone_of("bert"))
    assert isinstance(encoder.network.head, PooledHead)
    encoder.network.head.pooling = pooling
    export_to(save_fit(tmp_path / "fit", encoder), FORMAT, tmp_path / "out")
    logits = torch.tensor(st.SentenceTransformer(str(tmp_path / "out"), device="cpu").encode(list(PROBES))).double()
    assert np.abs(logits.softmax(-1).numpy() - predict_probabilities(encoder)).max() < MAX_DIFFERENCE


def test_the_loader_beside_it_prints_label_and_probabilities(backbone_of: BackboneOf, tmp_path: Path) -> None:
    encoder = make_label_encoder(backbone_of("bert"))
    export_to(save_fit(tmp_path / "fit", encoder, POINT), FORMAT, tmp_path / "out")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "out" / "classify.py"), *PROBES[:3]], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    found = np.array([[one["probabilities"][label] for label in LABELS] for one in printed])
    expected = predict_probabilities(encoder, POINT)[:3]
    assert np.abs(found - expected).max() < MAX_DIFFERENCE
    assert [one["label"] for one in printed] == [LABELS[place] for place in expected.argmax(1)]
    facts = json.loads((tmp_path / "out" / "classifier.json").read_text(encoding="utf-8"))
    assert facts["operating_point"] == POINT.to_dict()


def test_no_class_of_labels_opens_it(backbone_of: BackboneOf, tmp_path: Path) -> None:
    """A stock classifier on weights without its head would answer at random."""
    export_to(save_fit(tmp_path / "fit", make_label_encoder(backbone_of("bert"))), FORMAT, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text(encoding="utf-8"))
    assert config["id2label"] == {}
    assert "pipeline_tag" not in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_what_the_modules_cannot_do_is_refused(backbone_of: BackboneOf, tmp_path: Path) -> None:
    bert = backbone_of("bert")
    refused = {
        "stock": make_label_encoder(bert, head="stock"),
        "spans": make_span_encoder(bert),
        "ends": make_label_encoder(bert, long="ends"),
    }
    told = {}
    for name, encoder in refused.items():
        fit = save_fit(tmp_path / name, encoder)
        with pytest.raises(UnsupportedTask) as raised:
            export_to(fit, FORMAT, tmp_path / "out")
        told[name] = str(raised.value)
        assert not (tmp_path / "out").exists()
    assert "stock head" in told["stock"]
    assert "token head" in told["spans"]
    assert "long: ends" in told["ends"]
    assert all("to mend it" in text for text in told.values())


def test_an_architecture_with_two_stacks_is_refused(
    backbone_of: BackboneOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_label_encoder(backbone_of("bert"))
    monkeypatch.setattr(encoder.network.backbone.config, "is_encoder_decoder", True)
    from loratory.exporting.encoder_fits import EncoderFit
    from loratory.exporting.sentence_transformers.layout import check_modules

    with pytest.raises(UnsupportedTask, match="decoder"):
        check_modules(EncoderFit(encoder, None))


def test_the_dense_layer_is_the_head_s_formula() -> None:
    from loratory.exporting.sentence_transformers.layout import compute_dense

    head = PooledHead(4, 2, "mean").requires_grad_(False)
    head.prototypes.copy_(torch.tensor([[3.0, 0, 4, 0], [0, 2, 0, 0]]))
    head.log_scale.fill_(math.log(10))
    head.bias.copy_(torch.tensor([0.5, -1]))
    weight, bias = compute_dense(head)
    assert torch.allclose(weight, torch.tensor([[6.0, 0, 8, 0], [0, 10, 0, 0]]))
    assert bias.tolist() == [0.5, -1]
