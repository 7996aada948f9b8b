"""Networks that answer in int8: backbone and adapter merged into a graph, which ONNX Runtime computes row by row.

Dynamic int8 has one scale for all activations of a tensor, so in a batch a neighbour's text would change an answer. A
row that is always alone, without padding, gets the same states whatever else is asked. Heads stay in float32.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from loratory.artifacts.locks import hold_lock
from loratory.artifacts.manifests import digest_of, open_artifact, stage_artifact
from loratory.backbones import adapters
from loratory.backbones.forward import int8_export
from loratory.backbones.forward.encoder_backbone import EncoderBackbone
from loratory.errors import ArtifactError, BaseModelError, SpecError, first_line, make_missing_extra
from loratory.protocols import JSON, Adapter, Network, TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedModel

GRAPH_FILE = "model.onnx"
LIBRARIES = ("torch", "transformers", "onnx", "onnxscript", "onnxruntime")  # another version may make another graph
MAX_RELATIVE_ERROR = 0.5  # of the states' own size: an error that no rounding explains
MAX_PROBE_WORDS = 200  # of the longest text that a fresh graph is tried on
LOCK_SECONDS = 1800.0  # seconds that one process waits for another that makes the same graph
PROBE_DEPTH = 64  # products in a sum of the probe below


class Int8Session:
    """A graph of our own. It computes in the thread that asks, and holds up no other."""

    def __init__(self, graph: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._names = [one.name for one in self._session.get_inputs()]
        self._output = self._session.get_outputs()[0].name

    def __call__(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Of one row: final states float[1, T, D], of an nli base logits float[1, L]."""
        (made,) = self._session.run([self._output], {name: inputs[name].numpy() for name in self._names})
        return torch.from_numpy(made)


class RowThreads:
    """Threads that compute rows side by side: the one that asks, and others. A row is computed by one of them."""

    def __init__(self, threads: int) -> None:
        self.threads, self._executor = threads, None
        if threads > 1:  # a head's products are too small to be shared: teams would only wait for them
            alone = partial(torch.set_num_threads, 1)
            self._executor = ThreadPoolExecutor(threads - 1, thread_name_prefix="rows", initializer=alone)

    def run_rows(self, rows: Sequence[int], lengths: Sequence[int], work: Callable[[Sequence[int]], None]) -> None:
        """Do the work for all rows; raises what it raises."""
        order = sorted(rows, key=lambda row: -lengths[row])  # so that all have about as much
        parts = [order[k :: self.threads] for k in range(min(self.threads, len(order)))]
        others = [self._executor.submit(work, part) for part in parts[1:]] if self._executor else []
        try:
            if parts:
                work(parts[0])
        finally:
            wait(others)
        for one in others:
            one.result()


get_row_threads = cache(RowThreads)  # for so many threads: those of a process are shared by all of its backbones


class Int8Backend:
    """A ComputeBackend: sessions of one backbone's networks. These are held weakly: a session goes with its last.

    Networks under the same adapter share a session: their heads are computed by the backbone.
    """

    def __init__(self, threads: int) -> None:
        self.sessions: WeakKeyDictionary[Network, Int8Session] = WeakKeyDictionary()
        self._row_threads = get_row_threads(threads)

    def serves(self, network: Network) -> bool:
        """Whether it has a session of this network."""
        return network in self.sessions

    def compute_states(self, network: Network, inputs: Mapping[str, Tensor]) -> Tensor:
        """Of one row: final states float[1, T, D], of an nli base logits float[1, L]."""
        return self.sessions[network](inputs)

    def run_rows(self, rows: Sequence[int], lengths: Sequence[int], work: Callable[[Sequence[int]], None]) -> None:
        """Do the work for all rows in the threads of the process; raises what it raises."""
        self._row_threads.run_rows(rows, lengths, work)

    def find_session(self, adapter: Adapter | None) -> Int8Session | None:
        """That of another network under the same adapter."""
        wanted = _digest_of(adapter)
        found = (one for network, one in self.sessions.items() if _digest_of(network.adapter) == wanted)
        return next(found, None)


def prepare_int8(network: Network, folder: Path, threads: int, notify: Callable[[str], None]) -> None:
    """Let a network answer in int8 from now on, as long as it is there; graphs are kept in a folder.

    Its backbone is given an Int8Backend where it has none yet. Raises SpecError where the base cannot, BaseModelError
    where the exporter fails, MissingExtra without its libraries.
    """
    backbone = network.backbone
    if (
        not isinstance(backbone, EncoderBackbone)
        or backbone.kind not in ("encoder", "nli")
        or backbone.config.is_encoder_decoder
    ):
        raise SpecError(
            f"{backbone.name} ({backbone.config.model_type}) cannot answer in int8",
            where="precision",
            allowed="int8 for encoders; auto, fp32 and bf16 for all",
            remedy="set precision: auto",
        )
    backend = backbone.compute_backend if isinstance(backbone.compute_backend, Int8Backend) else Int8Backend(threads)
    if not backend.serves(network):
        adapter = network.adapter
        backend.sessions[network] = backend.find_session(adapter) or Int8Session(
            load_or_export_graph(backbone, adapter, folder, notify)
        )
    backbone.use_backend(backend)  # when it has a session: who encodes meanwhile is not held up


def _digest_of(adapter: Adapter | None) -> str | None:
    return adapter.digest if adapter else None


def load_or_export_graph(
    backbone: EncoderBackbone, adapter: Adapter | None, home: Path, notify: Callable[[str], None]
) -> bytes:
    """A graph that is kept below `home`, or is made now; the bytes that have the digest of its manifest."""
    facts: dict[str, JSON] = {"kind": "int8", "backbone": backbone.digest, "adapter": _digest_of(adapter)}
    facts |= {"versions": _read_versions(), "weight_bits": weight_bits()}
    folder = home / f"{digest_of(facts)[:16]}-{weight_bits()}bit"  # a folder may be shared by unlike machines
    with hold_lock(folder, LOCK_SECONDS, notify):  # of several servers that start together, one makes it
        if folder.is_dir():
            try:
                return open_artifact(folder).read(GRAPH_FILE)
            except ArtifactError as problem:
                notify(f"the int8 graph in {folder} is made again: {problem.problem}")
        with stage_artifact(folder, facts) as part:
            _export_graph(backbone.unquantized, adapter, part / GRAPH_FILE)
        return open_artifact(folder).read(GRAPH_FILE)


def _read_versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            raise make_missing_extra(name, "int8") from None
    return found


@cache
def weight_bits() -> int:
    """Bits of a weight that this machine multiplies exactly: 8, or 7 where sums of two products are cut to 16 bits.

    It is computed, not looked up: x86 without VNNI cuts, but no list of processors is complete. Raises MissingExtra.
    """
    try:
        import onnxruntime
        from onnx import TensorProto, helper
    except ImportError as problem:
        raise make_missing_extra(problem.name or "onnxruntime", "int8") from problem
    weights = helper.make_tensor("w", TensorProto.INT8, (PROBE_DEPTH, 16), bytes([127]) * PROBE_DEPTH * 16, raw=True)
    texts, sums = (
        helper.make_tensor_value_info(*one)
        for one in (("x", TensorProto.UINT8, [None, PROBE_DEPTH]), ("y", TensorProto.INT32, [None, 16]))
    )
    product = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "p", [texts], [sums], [weights])
    model = helper.make_model(product, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.full((1, PROBE_DEPTH), 255, np.uint8)})
    return 8 if (found == 255 * 127 * PROBE_DEPTH).all() else 7


def _export_graph(backbone: EncoderBackbone, adapter: Adapter | None, file: Path) -> None:
    model = adapters.merge_adapter(backbone.model, adapter)
    with tempfile.TemporaryDirectory() as work:
        model.save_pretrained(work)
        save_file(
            {name: t.contiguous() for name, t in _build_probe_inputs(backbone, 1, 6).items()},
            Path(work) / int8_export.SAMPLE_FILE,
        )
        bits = "whole" if weight_bits() == 8 else "reduced"
        done = subprocess.run(
            [sys.executable, "-P", "-m", int8_export.__name__, work, str(file), backbone.kind, bits],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(part for part in sys.path if part)},
            capture_output=True,
            text=True,
        )
    if done.returncode:
        told = done.stderr.strip().splitlines() or [f"ended with {done.returncode}"]
        raise _unsupported_error(backbone, told[-1])
    try:
        session = Int8Session(file.read_bytes())
        far = max(_measure_error(session, model, backbone, words) for words in (3, MAX_PROBE_WORDS))
    except Exception as problem:  # ONNX Runtime has kinds of its own
        raise _unsupported_error(backbone, first_line(problem)) from problem
    if not far < MAX_RELATIVE_ERROR:
        raise _unsupported_error(backbone, f"the graph's states are off by {far:.0%}")


def _unsupported_error(backbone: EncoderBackbone, reason: str) -> BaseModelError:
    return BaseModelError(
        f"{backbone.name} ({backbone.config.model_type}) cannot be exported to int8: {reason}",
        where="precision",
        allowed="int8 for encoders that transformers' ONNX exporter takes; auto, fp32 and bf16 for all",
        remedy="set precision: auto",
    )


def _build_probe_inputs(backbone: EncoderBackbone, *words: int) -> dict[str, Tensor]:
    """For texts of so many words; pairs where the base reads those."""
    pair = "a" if backbone.kind == "nli" else None
    rows: list[TokenIds] = [backbone.tokenizer.encode(" ".join("a" * count), pair)[0] for count in words]
    return backbone.build_inputs(rows)


@torch.inference_mode()
def _measure_error(session: Int8Session, model: PreTrainedModel, backbone: EncoderBackbone, words: int) -> float:
    """How far the graph is from the model, as a share of what the model says."""
    inputs = _build_probe_inputs(backbone, words)
    output = model(**inputs)
    exact = output.logits if backbone.kind == "nli" else output.last_hidden_state
    return float((session(inputs) - exact).norm() / exact.norm())
