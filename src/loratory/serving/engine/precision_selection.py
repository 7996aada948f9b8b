"""What a server's backbones compute in: as asked, or as the runs' own validation texts allow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, cast

from loratory.errors import SpecError
from loratory.protocols import Backbone, EncodeRequest, Example, InferenceRequest, Prediction, RequestRunner, Task
from loratory.serving.engine.capabilities import backbone_of, network_of
from loratory.serving.engine.service_registry import Service
from loratory.specs.serve import ServerSpec

MIN_BF16_AGREEMENT = (
    0.99  # share of answers that have to stay the same where products are computed in bf16 and nobody asked for it
)
MIN_INT8_AGREEMENT = 0.95  # the same in int8, which was asked for
MAX_CHANGED_ANSWERS = (
    1  # answer that may change however few there are: of twelve it is more than a twentieth, and proves nothing
)
VALIDATION_TEXTS = 256  # that this is looked at with: in bf16 over all tasks, in int8 for each
INT8_GRAPH_FOLDER = Path(".loratory") / "int8"
ProgressPrinter = Callable[[str], None]


class AdjustablePool(Protocol):
    """Backbones whose precision is set together, those that come later too."""

    def set_precision(self, precision: str) -> None:
        """The precision of the products in which all answer from now on: fp32 or bf16."""


@dataclass(frozen=True)
class PrecisionChoice:
    """What a backbone's products are computed in, and why."""

    backbone: str
    precision: str
    reason: str


def select_precisions(
    spec: ServerSpec, services: Collection[Service], pool: AdjustablePool, threads: int, report: ProgressPrinter
) -> list[PrecisionChoice]:
    """Of each backbone that answers first for a task. It is tried on texts that no fit was made of.

    Raises LoratoryError where a backbone cannot compute as asked.
    """
    from loratory.backbones.forward.precision import choose_precision

    by_backbone: dict[str, tuple[Backbone, list[Service]]] = {}
    for service in services:
        if (backbone := backbone_of(service.stages[0].predictor)) is not None:
            by_backbone.setdefault(backbone.digest, (backbone, []))[1].append(service)
    if spec.precision == "int8":
        told = {one: quantize_service(one, threads, report) for one in services}
        whys = [(backbone.name, "; ".join(told[one] for one in mine)) for backbone, mine in by_backbone.values()]
        return [PrecisionChoice(name, "int8", f"as asked; {why}") for name, why in whys]
    if spec.precision != "auto":
        pool.set_precision(spec.precision)
        return [PrecisionChoice(backbone.name, spec.precision, "as asked") for backbone, _ in by_backbone.values()]
    if choose_precision("auto", "cpu") == "fp32":
        return [
            PrecisionChoice(backbone.name, "fp32", "this machine is no faster in bf16")
            for backbone, _ in by_backbone.values()
        ]
    return [_try_bf16(backbone, mine) for backbone, mine in by_backbone.values()]


def _try_bf16(backbone: Backbone, services: Sequence[Service]) -> PrecisionChoice:
    """Leaves the backbone in bf16 where the answers stay the same."""
    from loratory.backbones.forward.execution import run_locally

    texts = {
        one: [e.input for e in _read_validation_examples(one, max(VALIDATION_TEXTS // len(services), 8))]
        for one in services
    }
    if missing := [one.name for one, inputs in texts.items() if not inputs]:
        return PrecisionChoice(backbone.name, "fp32", f"no validation texts of {', '.join(missing[:3])} to try bf16 on")
    exact = {one: one.stages[0].predictor.predict(inputs, run_locally) for one, inputs in texts.items()}
    backbone.set_precision("bf16")
    for one, inputs in texts.items():
        fast = one.stages[0].predictor.predict(inputs, run_locally)
        other = sum(a.answer != b.answer for a, b in zip(exact[one], fast, strict=True))
        if other > (1 - MIN_BF16_AGREEMENT) * len(inputs):
            backbone.set_precision("fp32")
            return PrecisionChoice(
                backbone.name,
                "fp32",
                f"{one.name} answers {other} of {len(inputs)} validation texts differently in bf16",
            )
    count = sum(map(len, texts.values()))
    return PrecisionChoice(
        backbone.name, "bf16", f"answers to {count} validation texts stay the same, {1 - MIN_BF16_AGREEMENT:.0%} aside"
    )


def _read_validation_examples(service: Service, max_examples: int) -> list[Example]:
    """Of the run's validation part; where answers are written few, because each takes long."""
    if service.folder is None:
        return []
    from loratory.artifacts.manifests import open_artifact
    from loratory.data import split_files

    parts = split_files.read_split(open_artifact(service.folder / "data"), service.task)
    few = min(max_examples, 8) if service.generates else max_examples
    return list(islice(parts.validation, few))


def quantize_service(service: Service, threads: int, report: ProgressPrinter) -> str:
    """Let every stage of a task that has a backbone answer in int8; what became of the answers of the first,
    nothing where that has none.

    Workers may be at work meanwhile. Raises LoratoryError where a base cannot, or too many answers change.
    """
    from loratory.backbones.forward import int8

    for stage in service.stages:
        if (network := network_of(stage.predictor)) is not None:
            int8.prepare_int8(network, INT8_GRAPH_FOLDER, threads, report)
    predictor = service.stages[0].predictor
    if (backbone := backbone_of(predictor)) is None:
        return ""
    examples = _read_validation_examples(service, VALIDATION_TEXTS)
    if not examples:
        return f"no validation texts of {service.name} to try int8 on"
    inputs = [example.input for example in examples]
    before, after = (predictor.predict(inputs, _make_encode_runner(one)) for one in (backbone.clone_fp32(), backbone))
    same = sum(a.answer == b.answer for a, b in zip(before, after, strict=True))
    if len(inputs) - same > max((1 - MIN_INT8_AGREEMENT) * len(inputs), MAX_CHANGED_ANSWERS):
        raise SpecError(
            f"in int8 only {same} of {len(inputs)} validation answers of {service.name} stay the same",
            where="precision",
            allowed=f"int8 where at least {MIN_INT8_AGREEMENT:.0%} do, or all but one; auto, fp32, bf16",
            remedy="set precision: auto",
        )
    return f"{same} of {len(inputs)} validation answers of {service.name} stay the same" + _describe_accuracy_change(
        service.task, examples, before, after
    )


def _make_encode_runner(backbone: Backbone) -> RequestRunner:
    """`run` for requests to encode, whichever backbone they name."""

    def run(requests: Sequence[InferenceRequest], deadline: float | None = None) -> list[Any]:
        return backbone.encode(cast("Sequence[EncodeRequest]", requests))

    return run


def _describe_accuracy_change(
    task: Task, examples: Sequence[Example], before: Sequence[Prediction], after: Sequence[Prediction]
) -> str:
    """How many more of those with an expected answer are right."""
    known = [k for k, example in enumerate(examples) if example.answer is not None]
    if not known:
        return ""

    def right(made: Sequence[Prediction]) -> int:
        return sum(bool(task.score_example(examples[k], made[k])["reward"] >= 1 - 1e-9) for k in known)

    points = 100 * (right(after) - right(before)) / len(known)
    if not points:
        return ", as many are right"
    return f", {abs(points):.1f} points {'more' if points > 0 else 'fewer'} are right"
