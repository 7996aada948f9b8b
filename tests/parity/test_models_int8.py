"""Int8 sessions: near the backbone, each row alone exactly as in any company, and gone with those who ask them."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from loratory.artifacts.manifests import digest_of, hash_file
from loratory.backbones.forward import int8, int8_export
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.backbones.forward.execution import run_locally
from loratory.errors import BaseModelError, LoratoryError, MissingExtra, SpecError
from loratory.predictors.entailment import Entailment
from loratory.predictors.heads import PooledHead, TokenHead
from loratory.protocols import Adapter, EncodeRequest, Network
from tiny_models import (
    TEXTS,
    BasePathOf,
    load_backbone_from,
    make_random_adapter,
    make_task,
    save_base,
    save_causal_model,
)

pytest.importorskip("onnxruntime", reason="the extra int8 is not installed")
pytest.importorskip("onnxscript", reason="the extra int8 is not installed")
NEAR = 0.2  # of the states' size: random weights, and only two layers to even out in
FAMILIES = ("distilbert",)
MORE = ("modernbert", "deberta-v2", "roberta", "mpnet", "albert", "roformer")
Prepare = Callable[[Network], None]


def here(command: Sequence[str], **rest: Any) -> SimpleNamespace:
    """The exporter in this process, where it is imported once for all tests."""
    try:
        int8_export.main(*command[command.index(int8_export.__name__) + 1 :])
    except SystemExit as problem:
        return SimpleNamespace(returncode=1, stderr=f"a warning\n{problem}\n")
    return SimpleNamespace(returncode=0, stderr="")


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    """Graphs by what they were made of."""
    return {}


@pytest.fixture
def exporting(made: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A line for each export; what was exported before is only copied."""
    lines: list[str] = []

    def count_and_export(command: Sequence[str], **rest: Any) -> SimpleNamespace:
        folder, file = Path(command[-4]), Path(command[-3])
        lines.append(str(file))
        state = digest_of({part.name: hash_file(part) for part in folder.iterdir()})
        if state not in made:
            assert here(command).returncode == 0
            made[state] = file.read_bytes()
        file.write_bytes(made[state])
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(int8, "subprocess", SimpleNamespace(run=count_and_export))
    return lines


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture
def prepare(exporting: list[str], cache: Path) -> Prepare:
    return lambda network: int8.prepare_int8(network, cache, 2, lambda text: None)


@pytest.fixture
def backbone(base_path_of: BasePathOf) -> EncoderBackbone:
    """Of its own: a session is a change."""
    return load_backbone_from(base_path_of("bert"))


def sessions_of(backbone: EncoderBackbone) -> Mapping[Network, int8.Int8Session]:
    assert isinstance(backbone.compute_backend, int8.Int8Backend)
    return backbone.compute_backend.sessions


def build_pooled_head(backbone: EncoderBackbone, seed: int = 0) -> nn.Module:
    return head(PooledHead(backbone.width, 3, "mean"), seed)


def head(made: nn.Module, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, weight in made.named_parameters():
            if name != "log_scale":
                nn.init.normal_(weight)
    return made.eval().requires_grad_(False)


def texts(network: Network, some: Sequence[str] = TEXTS) -> list[EncodeRequest]:
    backbone: Any = network.backbone
    return [EncodeRequest(network, ids) for ids, _ in backbone.tokenizer.encode_batch(list(some))]


def each(requests: Sequence[EncodeRequest]) -> list[Tensor]:
    """Every request alone."""
    return [run_locally([request])[0] for request in requests]


def near(found: Sequence[Tensor], exact: Sequence[Tensor]) -> bool:
    return all(float((a - b).norm() / b.norm()) < NEAR for a, b in zip(found, exact, strict=True))


def test_rows_are_near_and_alone_exactly_as_in_company(backbone: EncoderBackbone, prepare: Prepare) -> None:
    guests: list[Adapter | None] = [
        None,
        make_random_adapter(backbone, seed=1),
        make_random_adapter(backbone, rank=8, seed=2),
    ]
    networks = [Network(backbone, guest, build_pooled_head(backbone, n)) for n, guest in enumerate(guests)]
    tagger = Network(backbone, guests[1], head(TokenHead(backbone.width, 5)))
    beside = Network(backbone, guests[2], build_pooled_head(backbone, 9))  # nobody prepares it
    requests = [request for rows in zip(*map(texts, [*networks, tagger, beside]), strict=True) for request in rows]
    exact = run_locally(requests)
    for network in (*networks, tagger):
        prepare(network)
    assert sessions_of(backbone)[tagger] is sessions_of(backbone)[networks[1]]  # the same adapter
    mixed = run_locally(requests)
    for request, found, before in zip(requests, mixed, exact, strict=True):
        if request.network is beside:
            assert torch.allclose(found, before, atol=1e-4)
            continue
        assert torch.equal(found, each([request])[0])
        assert not torch.equal(found, before)
    backwards = run_locally([request for request in requests[::-1] if request.network is not beside])
    forwards = [found for request, found in zip(requests, mixed, strict=True) if request.network is not beside]
    assert all(torch.equal(a, b) for a, b in zip(forwards, backwards[::-1], strict=True))
    assert {tuple(found.shape) for found in mixed[3::5]} == {(len(request.ids), 5) for request in requests[3::5]}


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("rows", [0, 1, 4, 23])
def test_hands_do_every_row_once(threads: int, rows: int) -> None:
    done: list[tuple[int, str]] = []
    lengths = [row % 7 for row in range(30)]
    mine = list(range(30))[:rows]
    int8.RowThreads(threads).run_rows(
        mine, lengths, lambda part: done.extend((row, threading.current_thread().name) for row in part)
    )
    assert sorted(row for row, _ in done) == mine
    here = [row for row, name in done if name == threading.current_thread().name]
    assert len(here) == -(-rows // threads)  # nobody has more than the one who asks


def test_hands_that_fail_say_so_when_all_have_ended() -> None:
    done: list[int] = []

    def work(part: Sequence[int]) -> None:
        for row in part:
            if row == 3:
                raise RuntimeError("this row cannot be computed")
            time.sleep(0.01)
            done.append(row)

    with pytest.raises(RuntimeError, match="this row"):
        int8.RowThreads(3).run_rows(range(9), range(9), work)
    assert len(done) >= 6


@pytest.mark.parametrize("family", [*FAMILIES, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE)])
def test_other_architectures(base_path_of: BasePathOf, prepare: Prepare, family: str) -> None:
    backbone = load_backbone_from(base_path_of(family))
    network = Network(backbone, make_random_adapter(backbone))
    exact = each(texts(network))
    prepare(network)
    found = run_locally(texts(network))
    assert not torch.equal(found[0], exact[0])
    assert near(found, exact)


def test_pairs(tmp_path: Path, prepare: Prepare) -> None:
    labels: dict[str, Any] = {"num_labels": 3, "id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}}
    folder = save_base(tmp_path / "nli", "bert", kind="AutoModelForSequenceClassification", **labels)
    predictor = Entailment(make_task(), Network(load_backbone_from(folder)))
    inputs = [{"text": text} for text in TEXTS]
    requests = predictor.plan(inputs).requests
    exact = run_locally(requests)
    prepare(predictor.network)
    found = run_locally(requests)
    assert not torch.equal(found[0], exact[0])
    assert float((torch.stack(found) - torch.stack(exact)).norm() / torch.stack(exact).norm()) < NEAR


def test_a_session_goes_with_its_network(backbone: EncoderBackbone, prepare: Prepare) -> None:
    network, other = Network(backbone, make_random_adapter(backbone, seed=1)), Network(backbone)
    prepare(network)
    prepare(other)
    assert sessions_of(backbone)[network] is not sessions_of(backbone)[other]
    session = weakref.ref(sessions_of(backbone)[network])
    run_locally(texts(network))
    del network
    gc.collect()
    assert session() is None
    assert list(sessions_of(backbone)) == [other]


def test_a_graph_is_kept_and_a_damaged_one_made_again(
    base_path_of: BasePathOf, backbone: EncoderBackbone, exporting: list[str], tmp_path: Path
) -> None:
    adapter = make_random_adapter(backbone, seed=5)
    said: list[str] = []

    def answers() -> Tensor:
        fresh = Network(load_backbone_from(base_path_of("bert")), adapter)
        int8.prepare_int8(fresh, tmp_path, 1, said.append)
        return torch.cat(run_locally(texts(fresh)))

    first = answers()
    assert torch.equal(first, answers())
    assert (len(exporting), said) == (1, [])
    (folder,) = tmp_path.iterdir()
    (folder / int8.GRAPH_FILE).write_bytes((folder / int8.GRAPH_FILE).read_bytes()[:-100])
    assert torch.equal(first, answers())
    assert len(exporting) == 2
    assert str(folder) in said.pop()
    (folder / "manifest.json").unlink()
    assert torch.equal(first, answers())
    assert (len(exporting), len(said)) == (3, 1)


def test_another_version_makes_another_graph(
    backbone: EncoderBackbone, prepare: Prepare, cache: Path, exporting: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = make_random_adapter(backbone, seed=1)
    graph = int8.load_or_export_graph(backbone, adapter, cache, print)
    exporting.clear()
    assert int8.load_or_export_graph(backbone, adapter, cache, print) == graph
    assert not exporting
    monkeypatch.setattr(int8, "version", lambda name: "99")
    int8.load_or_export_graph(backbone, adapter, cache, print)
    assert len(exporting) == 1


def catch_prepare_error(network: Network, cache: Path) -> LoratoryError:
    with pytest.raises(LoratoryError) as told:
        int8.prepare_int8(network, cache, 2, lambda text: None)
    assert told.value.exit_code == 2
    backbone: Any = network.backbone
    assert backbone.compute_backend is None or not backbone.compute_backend.serves(network)
    return told.value


def test_what_cannot_answer_in_int8_is_told(
    backbone: EncoderBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = catch_prepare_error(Network(load_backbone_from(save_causal_model(tmp_path / "writer"))), tmp_path)
    assert isinstance(writer, SpecError)
    assert (writer.where, writer.remedy) == ("precision", "set precision: auto")

    network = Network(backbone, make_random_adapter(backbone, seed=7))
    kept = tmp_path / "kept"
    failing = SimpleNamespace(run=lambda *_, **__: SimpleNamespace(returncode=1, stderr="x\nRuntimeError: no such op"))
    monkeypatch.setattr(int8, "subprocess", failing)
    broken = catch_prepare_error(network, kept)
    assert isinstance(broken, BaseModelError)
    assert "RuntimeError: no such op" in broken.problem
    assert list(kept.glob("*")) == []

    def other(command: Sequence[str], **rest: Any) -> SimpleNamespace:
        """Exports the base without its adapter."""
        backbone.model.save_pretrained(command[-4])
        return here(command)

    monkeypatch.setattr(int8, "subprocess", SimpleNamespace(run=other))
    assert "off by" in catch_prepare_error(network, kept).problem
    assert list(kept.glob("*")) == []

    def missing(name: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(int8, "version", missing)
    absent = catch_prepare_error(network, kept)
    assert isinstance(absent, MissingExtra)
    assert absent.remedy == 'pip install "loratory[int8]"'


def test_bits_of_a_weight_are_those_that_this_machine_multiplies_exactly() -> None:
    """Whatever the machine: the graph of that many bits sums without saturation, which ONNX Runtime shows."""
    import numpy as np
    import onnxruntime
    from onnx import TensorProto, helper

    largest = 2 ** (int8.weight_bits() - 1) - 1
    weights = helper.make_tensor("w", TensorProto.INT8, (8, 16), bytes([largest]) * 128, raw=True)
    made = [
        helper.make_tensor_value_info(*one)
        for one in (("x", TensorProto.UINT8, [None, 8]), ("y", TensorProto.INT32, [None, 16]))
    ]
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "g", made[:1], made[1:], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.full((3, 8), 255, np.uint8)})
    assert (found == 255 * largest * 8).all()


@pytest.mark.parametrize("bits", [7, 8])
def test_a_graph_is_named_by_the_bits_of_its_weights(
    backbone: EncoderBackbone, exporting: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    monkeypatch.setattr(int8, "weight_bits", lambda: bits)
    monkeypatch.setattr(int8, "_measure_error", lambda *_: 0.0)  # eight bits may saturate here
    graph = int8.load_or_export_graph(backbone, None, tmp_path, lambda text: None)
    (folder,) = (one for one in tmp_path.iterdir() if one.is_dir())
    assert folder.name.endswith(f"-{bits}bit")
    assert int8.load_or_export_graph(backbone, None, tmp_path, lambda text: None) == graph
    assert len(exporting) == 1
