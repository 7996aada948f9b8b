"""Everything that is refused before the first contender is fitted. `check`, `run` and `train` all ask here.

Nothing that needs torch is imported before a contender has a base: a ladder without one is checked in a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from loratory.data import twins
from loratory.errors import DataError, LoratoryError, StorageError, Unfit
from loratory.flows import preparing
from loratory.flows.listening import Listener
from loratory.flows.preparing import Split
from loratory.flows.specs import check_gate
from loratory.protocols import Context, Lessons, Rehearsed
from loratory.specs.frame import Contender, Spec

if TYPE_CHECKING:
    from loratory.models.bases import Base
    from loratory.models.trunks import TorchTrunk

OFF = "choose another base: or take it off the ladder"


@dataclass(frozen=True)
class Ladder:
    """The bases of a ladder by name, and their trunks without weights."""

    bases: dict[str, Base] = field(default_factory=dict)
    trunks: dict[str, TorchTrunk] = field(default_factory=dict)


def check(spec: Spec, listen: Listener) -> Split:
    """`loratory check`: the split, made anew and not written; raises whatever `run` would before its first fit."""
    return examine(spec, lambda: preparing.check(spec, listen))[0]


def examine(spec: Spec, read: Callable[[], Split]) -> tuple[Split, dict[str, Base]]:
    """The split that `read` makes and the bases; raises LoratoryError for all that could not be run.

    What cannot be whatever the examples are is told before `read` is called, the rest before anything is fitted.
    """
    if spec.stress:
        twins.check(spec.task)
    _check_optimizer(spec)
    ladder = check_ladder(spec)
    split = read()
    check_gate(spec, split.task)
    if spec.operating:
        from loratory.flows import operating

        operating.check(spec, split.task, len(split.parts.calibration))
    rehearse(spec, split, ladder)
    return split, ladder.bases


def device_of() -> str:
    """What fits are computed on."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_optimizer(spec: Spec) -> None:
    if spec.training.optimizer == "adamw":
        return
    from loratory.training import optimizers

    optimizers.check(spec.training.optimizer, device_of())


def check_ladder(spec: Spec) -> Ladder:
    """Refuse contenders that cannot fulfil the task from their bases, all of them in one error."""
    ladder = Ladder()
    problems: dict[str, LoratoryError] = {}
    failed: dict[str, LoratoryError] = {}  # by base: it is tried once
    for contender in spec.ladder:
        try:
            _inspect(spec, contender, ladder, failed)
        except StorageError:
            raise
        except LoratoryError as problem:
            problems[contender.name] = problem
    refuse(problems)
    return ladder


def _kind(name: str | None, ladder: Ladder) -> str:
    """Find a base; what kind of start it is."""
    if name is None:
        return "nothing"
    if name not in ladder.bases:
        from loratory.models.bases import resolve

        ladder.bases[name] = resolve(name)
    return ladder.bases[name].kind


def _open(name: str, ladder: Ladder, failed: dict[str, LoratoryError]) -> None:
    """Make a base's trunk without weights."""
    if name in failed:
        raise failed[name]
    if name in ladder.trunks:
        return
    from loratory.models.skeletons import skeleton

    try:
        ladder.trunks[name] = skeleton(ladder.bases[name])
    except LoratoryError as problem:
        failed[name] = problem
        raise


def _inspect(spec: Spec, contender: Contender, ladder: Ladder, failed: dict[str, LoratoryError]) -> None:
    base = contender.base
    if objection := contender.options.objection(spec.task, _kind(base, ladder)):
        raise Unfit(objection, remedy=OFF)
    if base:
        _open(base, ladder, failed)
    if isinstance(contender.options, Rehearsed):
        contender.options.inspect(spec.task, ladder.trunks[base] if base else None, _context(spec, contender))


def rehearse(spec: Spec, split: Split, ladder: Ladder) -> None:
    """Refuse contenders that cannot be fitted to these examples, all of them in one error."""
    lessons = Lessons(split.parts.train, split.parts.validation)
    problems: dict[str, LoratoryError] = {}
    for contender in spec.ladder:
        if not isinstance(contender.options, Rehearsed):
            continue
        trunk = ladder.trunks[contender.base] if contender.base else None
        try:
            contender.options.rehearse(split.task, lessons, trunk, _context(spec, contender))
        except StorageError:
            raise
        except LoratoryError as problem:
            problems[contender.name] = problem
    refuse(problems)


def _context(spec: Spec, contender: Contender) -> Context:
    """What a regime may ask before a fit: the training options and the device. Nothing is run or remembered."""
    nobody = cast(Any, None)
    return Context(0, nobody, nobody, nobody, training=spec.training, device=device_of() if contender.base else "cpu")


def refuse(problems: Mapping[str, LoratoryError]) -> None:
    """Raise one error for these contenders' problems, each told once; nothing where there is none."""
    alike: dict[str, tuple[LoratoryError, list[str]]] = {}
    for name, problem in problems.items():
        alike.setdefault(str(problem), (problem, []))[1].append(name)
    if not alike:
        return
    if len(alike) == 1:
        ((problem, names),) = alike.values()
        raise type(problem)(
            problem.problem, where=_place(names, problem), allowed=problem.allowed, remedy=problem.remedy or OFF
        ) from problem
    told = [_told(names, problem) for problem, names in alike.values()]
    raise Unfit(
        f"{len(problems)} contenders of the ladder cannot be fitted\n" + "\n".join(told),
        remedy="mend each as it says, or take it off the ladder",
    )


def _place(names: Iterable[str], problem: LoratoryError) -> str:
    where = f"ladder: {', '.join(names)}"
    if isinstance(problem, DataError):
        return f"{problem.where}: {where}"  # a file and its line come first
    return f"{where}: {problem.where}" if problem.where else where


def _told(names: Iterable[str], problem: LoratoryError) -> str:
    lines = f"{_place(names, problem)}: {problem.problem}", problem.allowed, problem.remedy or OFF
    said = [f"  {lines[0]}", *([f"    allowed: {lines[1]}"] if lines[1] else []), f"    to mend it: {lines[2]}"]
    return "\n".join(said)
