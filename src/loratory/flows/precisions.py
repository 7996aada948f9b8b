"""What a server's trunks compute in: as asked, or as the runs' own validation texts allow."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from loratory.errors import SpecError
from loratory.protocols import Example, Prediction, Request, Run
from loratory.serving.engine import innermost, trunk_of
from loratory.serving.services import Service
from loratory.specs.serve import ServerSpec

ALIKE = 0.99  # share of answers that have to stay the same where products are computed in bf16 and nobody asked for it
LEAST = 0.95  # the same in int8, which was asked for
ONE = 1  # answer that may change however few there are: of twelve it is more than a twentieth, and proves nothing
TEXTS = 256  # that this is looked at with: in bf16 over all tasks, in int8 for each
GRAPHS = Path(".loratory") / "int8"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Precision:
    """What a trunk's products are computed in, and why."""

    trunk: str
    precision: str
    why: str


def precisions(spec: ServerSpec, services: Collection[Service], pool: Any, threads: int, say: Say) -> list[Precision]:
    """Of each trunk that answers first for a task. It is tried on texts that no fit was made of.

    Raises LoratoryError where a trunk cannot compute as asked.
    """
    from loratory.models.precision import choose

    by_trunk: dict[str, tuple[Any, list[Service]]] = {}
    for service in services:
        if (trunk := trunk_of(service.stages[0].predictor)) is not None:
            by_trunk.setdefault(trunk.digest, (trunk, []))[1].append(service)
    if spec.precision == "int8":
        told = {one: in_int8(one, threads, say) for one in services}
        whys = [(trunk.name, "; ".join(told[one] for one in mine)) for trunk, mine in by_trunk.values()]
        return [Precision(name, "int8", f"as asked; {why}") for name, why in whys]
    if spec.precision != "auto":
        pool.compute_in(spec.precision)
        return [Precision(trunk.name, spec.precision, "as asked") for trunk, _ in by_trunk.values()]
    if choose("auto", "cpu") == "fp32":
        return [Precision(trunk.name, "fp32", "this machine is no faster in bf16") for trunk, _ in by_trunk.values()]
    return [_tried(trunk, mine) for trunk, mine in by_trunk.values()]


def _tried(trunk: Any, services: Sequence[Service]) -> Precision:
    """Leaves the trunk in bf16 where the answers stay the same."""
    from loratory.models.execution import run_here

    texts = {one: [e.input for e in _examples(one, max(TEXTS // len(services), 8))] for one in services}
    if missing := [one.name for one, inputs in texts.items() if not inputs]:
        return Precision(trunk.name, "fp32", f"no validation texts of {', '.join(missing[:3])} to try bf16 on")
    exact = {one: one.stages[0].predictor.predict(inputs, run_here) for one, inputs in texts.items()}
    trunk.compute_in("bf16")
    for one, inputs in texts.items():
        fast = one.stages[0].predictor.predict(inputs, run_here)
        other = sum(a.answer != b.answer for a, b in zip(exact[one], fast, strict=True))
        if other > (1 - ALIKE) * len(inputs):
            trunk.compute_in("fp32")
            return Precision(
                trunk.name, "fp32", f"{one.name} answers {other} of {len(inputs)} validation texts differently in bf16"
            )
    count = sum(map(len, texts.values()))
    return Precision(trunk.name, "bf16", f"answers to {count} validation texts stay the same, {1 - ALIKE:.0%} aside")


def _examples(service: Service, most: int) -> list[Example]:
    """Of the run's validation part; where answers are written few, because each takes long."""
    if service.folder is None:
        return []
    from loratory.artifacts.manifests import open_artifact
    from loratory.data import store

    parts = store.read(open_artifact(service.folder / "data"))
    few = min(most, 8) if service.writes else most
    return list(islice(parts.validation, few))


def in_int8(service: Service, threads: int, say: Say) -> str:
    """Let every stage of a task that has a trunk answer in int8; what became of the answers of the first,
    nothing where that has none.

    Lanes may be at work meanwhile. Raises LoratoryError where a base cannot, or too many answers change.
    """
    from loratory.models import int8

    for stage in service.stages:
        if trunk_of(stage.predictor) is not None:
            int8.prepare(innermost(stage.predictor).network, GRAPHS, threads, say)
    predictor = service.stages[0].predictor
    if (trunk := trunk_of(predictor)) is None:
        return ""
    examples = _examples(service, TEXTS)
    if not examples:
        return f"no validation texts of {service.name} to try int8 on"
    inputs = [example.input for example in examples]
    before, after = (predictor.predict(inputs, _run_by(one)) for one in (trunk.twin(), trunk))
    same = sum(a.answer == b.answer for a, b in zip(before, after, strict=True))
    if len(inputs) - same > max((1 - LEAST) * len(inputs), ONE):
        raise SpecError(
            f"in int8 only {same} of {len(inputs)} validation answers of {service.name} stay the same",
            where="precision",
            allowed=f"int8 where at least {LEAST:.0%} do, or all but one; auto, fp32, bf16",
            remedy="set precision: auto",
        )
    return f"{same} of {len(inputs)} validation answers of {service.name} stay the same" + _gained(
        service.task, examples, before, after
    )


def _run_by(trunk: Any) -> Run:
    """`run` for requests to encode, whichever trunk they name."""

    def run(requests: Sequence[Request], by: float | None = None) -> list[Any]:
        return trunk.encode(requests)  # type: ignore[no-any-return]

    return run


def _gained(task: Any, examples: Sequence[Example], before: Sequence[Prediction], after: Sequence[Prediction]) -> str:
    """How many more of those with an expected answer are right."""
    known = [k for k, example in enumerate(examples) if example.answer is not None]
    if not known:
        return ""

    def right(made: Sequence[Prediction]) -> int:
        return sum(bool(task.mark(examples[k], made[k])["reward"] >= 1 - 1e-9) for k in known)

    points = 100 * (right(after) - right(before)) / len(known)
    if not points:
        return ", as many are right"
    return f", {abs(points):.1f} points {'more' if points > 0 else 'fewer'} are right"
