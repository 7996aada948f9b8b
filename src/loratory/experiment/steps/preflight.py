"""Everything that is refused before the first contender is fitted. `check`, `run` and `train` all ask here.

Nothing that needs torch is imported before a contender has a base: a ladder without one is checked in a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from loratory.data.quality import paired_texts
from loratory.errors import DataError, LoratoryError, StorageError, UnsupportedTask
from loratory.experiment import prepare
from loratory.experiment.prepare import PreparedSplit
from loratory.experiment.spec_loading import check_gate
from loratory.experiment.start_kinds import contender_start_kind
from loratory.protocols import FitContext, PreflightChecks, StartKind, TrainSet
from loratory.protocols.events import EventListener
from loratory.specs.spec import Contender, Spec, sort_by_start

if TYPE_CHECKING:
    from loratory.backbones.forward.encoder_backbone import EncoderBackbone
    from loratory.backbones.loading.bases import Base

BASE_REMEDY = "choose another base: or take it off the ladder"


@dataclass(frozen=True)
class LadderBases:
    """The bases of a ladder by name, and their backbones without weights."""

    bases: dict[str, Base] = field(default_factory=dict)
    backbones: dict[str, EncoderBackbone] = field(default_factory=dict)


def check_spec(spec: Spec, on_event: EventListener) -> PreparedSplit:
    """`loratory check`: the split, made anew and not written; raises whatever `run` would before its first fit."""
    return run_preflight(spec, lambda: prepare.prepare_split(spec, on_event))[0]


def run_preflight(spec: Spec, read_data: Callable[[], PreparedSplit]) -> tuple[PreparedSplit, dict[str, Base]]:
    """The split that `read` makes and the bases; raises LoratoryError for all that could not be run.

    What cannot be whatever the examples are is told before `read` is called, the rest before anything is fitted.
    """
    if spec.stress:
        paired_texts.require_comparable(spec.task)
    _check_optimizer(spec)
    ladder = check_ladder(spec)
    split = read_data()
    check_gate(spec, split.task)
    if spec.operating:
        from loratory.experiment.steps import operating_points

        operating_points.check_operating_options(spec, split.task, len(split.parts.calibration))
    check_fits(spec, split, ladder)
    return split, ladder.bases


def choose_device() -> str:
    """What fits are computed on."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_optimizer(spec: Spec) -> None:
    if spec.training.optimizer == "adamw":
        return
    from loratory.training import optimizers

    optimizers.check_optimizer(spec.training.optimizer, choose_device())


def check_ladder(spec: Spec) -> LadderBases:
    """Refuse contenders that cannot fulfil the task from their bases, all of them in one error."""
    ladder = LadderBases()
    problems: dict[str, LoratoryError] = {}
    failed: dict[str, LoratoryError] = {}  # by base: it is tried once
    for contender in sort_by_start(spec.ladder):
        if contender.start in problems:  # it is told of its start
            problems[contender.name] = problems[contender.start]
            continue
        try:
            _check_contender(spec, contender, ladder, failed)
        except StorageError:
            raise
        except LoratoryError as problem:
            problems[contender.name] = problem
    raise_problems(problems)
    return ladder


def _base_kind(name: str, ladder: LadderBases) -> str:
    """Find a base; its kind."""
    if name not in ladder.bases:
        from loratory.backbones.loading.bases import resolve_base

        ladder.bases[name] = resolve_base(name)
    return ladder.bases[name].kind


def _open_skeleton(name: str, ladder: LadderBases, failed: dict[str, LoratoryError]) -> None:
    """Make a base's backbone without weights."""
    if name in failed:
        raise failed[name]
    if name in ladder.backbones:
        return
    from loratory.backbones.meta_backbones import load_meta_backbone

    try:
        ladder.backbones[name] = load_meta_backbone(ladder.bases[name])
    except LoratoryError as problem:
        failed[name] = problem
        raise


def _check_contender(spec: Spec, contender: Contender, ladder: LadderBases, failed: dict[str, LoratoryError]) -> None:
    base = contender.base
    start = contender_start_kind(spec, contender, lambda name: _base_kind(name, ladder))
    if objection := contender.options.check_support(spec.task, start):
        raise UnsupportedTask(objection, remedy=BASE_REMEDY)
    if base:
        _open_skeleton(base, ladder, failed)
    if isinstance(contender.options, PreflightChecks):
        contender.options.check_backbone(
            spec.task, ladder.backbones[base] if base else None, _preflight_context(spec, contender, start)
        )


def check_fits(spec: Spec, prepared: PreparedSplit, ladder: LadderBases) -> None:
    """Refuse contenders that cannot be fitted to these examples, all of them in one error."""
    train_set = TrainSet(prepared.parts.train, prepared.parts.validation)
    problems: dict[str, LoratoryError] = {}
    for contender in spec.ladder:
        if not isinstance(contender.options, PreflightChecks):
            continue
        backbone = ladder.backbones[contender.base] if contender.base else None
        start = contender_start_kind(spec, contender, lambda name: _base_kind(name, ladder))
        around = _preflight_context(spec, contender, start)
        try:
            contender.options.check_examples(prepared.task, train_set, backbone, around)
        except StorageError:
            raise
        except LoratoryError as problem:
            problems[contender.name] = problem
    raise_problems(problems)


def _preflight_context(spec: Spec, contender: Contender, start: StartKind) -> FitContext:
    """What a regime may ask before a fit: the training options and the device. Nothing is run or remembered."""
    nobody = cast(Any, None)
    device = choose_device() if contender.base else "cpu"
    return FitContext(0, nobody, nobody, nobody, training=spec.training, device=device, start_kind=start)


def raise_problems(problems: Mapping[str, LoratoryError]) -> None:
    """Raise one error for these contenders' problems, each told once; nothing where there is none."""
    alike: dict[str, tuple[LoratoryError, list[str]]] = {}
    for name, problem in problems.items():
        alike.setdefault(str(problem), (problem, []))[1].append(name)
    if not alike:
        return
    if len(alike) == 1:
        ((problem, names),) = alike.values()
        raise type(problem)(
            problem.problem,
            where=_problem_place(names, problem),
            allowed=problem.allowed,
            remedy=problem.remedy or BASE_REMEDY,
        ) from problem
    told = [_format_problem(names, problem) for problem, names in alike.values()]
    raise UnsupportedTask(
        f"{len(problems)} contenders of the ladder cannot be fitted\n" + "\n".join(told),
        remedy="mend each as it says, or take it off the ladder",
    )


def _problem_place(names: Iterable[str], problem: LoratoryError) -> str:
    where = f"ladder: {', '.join(names)}"
    if isinstance(problem, DataError):
        return f"{problem.where}: {where}"  # a file and its line come first
    return f"{where}: {problem.where}" if problem.where else where


def _format_problem(names: Iterable[str], problem: LoratoryError) -> str:
    lines = f"{_problem_place(names, problem)}: {problem.problem}", problem.allowed, problem.remedy or BASE_REMEDY
    said = [f"  {lines[0]}", *([f"    allowed: {lines[1]}"] if lines[1] else []), f"    to mend it: {lines[2]}"]
    return "\n".join(said)
