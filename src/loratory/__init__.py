"""From labelled examples and one short YAML to a small language model that is proven, exported and served.

    import loratory

    run = loratory.run("spec.yaml", training={"epochs": 3})
    print(run.verdict.headline)
    run.best.predict("Two payments in a town I have never been to")

Nothing is imported before it is used.
"""

from __future__ import annotations

import importlib

from loratory.threads import set_thread_environment

set_thread_environment()  # read by OpenMP when torch is loaded

__version__ = "0.1.0"
TYPE_CHECKING = False  # type checkers take it for true; `typing` takes longer to import than all of this module

if TYPE_CHECKING:
    from loratory.api.bases import bases, get_base, suggest_base
    from loratory.api.classifier import Classifier
    from loratory.api.evaluations import Evaluation, StressResult, StressRow
    from loratory.api.exports import Export, export
    from loratory.api.models import BlockingCallWarning, Model, evaluate, load, stress
    from loratory.api.registry import gate, open_registry, promote, register, rollback
    from loratory.api.results import Ladder, LadderRow, Run, Verdict
    from loratory.api.runs import CheckResult, Recipe, WrittenSpec, check, init, open_run, read_spec, recipes, run
    from loratory.api.scores import Score
    from loratory.api.servers import RunningServer, serve
    from loratory.api.verification import VerifiedExport, verify
    from loratory.errors import (
        ArtifactError,
        BaseModelError,
        DataError,
        ExtensionError,
        LoratoryError,
        MissingExtra,
        OutOfMemory,
        ParityError,
        RunInterrupted,
        ServerError,
        SpecError,
        StorageError,
        TrainingDiverged,
        UnsupportedTask,
    )
    from loratory.protocols import Prediction
    from loratory.specs.spec import Spec

_MODULES = {  # module -> the public names in it
    "loratory.api.bases": ("bases", "get_base", "suggest_base"),
    "loratory.api.classifier": ("Classifier",),
    "loratory.api.evaluations": ("Evaluation", "StressResult", "StressRow"),
    "loratory.api.exports": ("Export", "export"),
    "loratory.api.models": ("BlockingCallWarning", "Model", "evaluate", "load", "stress"),
    "loratory.api.registry": ("gate", "open_registry", "promote", "register", "rollback"),
    "loratory.api.results": ("Ladder", "LadderRow", "Run", "Verdict"),
    "loratory.api.runs": (
        "CheckResult",
        "Recipe",
        "WrittenSpec",
        "check",
        "init",
        "open_run",
        "read_spec",
        "recipes",
        "run",
    ),
    "loratory.api.scores": ("Score",),
    "loratory.api.servers": ("RunningServer", "serve"),
    "loratory.api.verification": ("VerifiedExport", "verify"),
    "loratory.errors": (
        "ArtifactError",
        "BaseModelError",
        "DataError",
        "ExtensionError",
        "LoratoryError",
        "MissingExtra",
        "OutOfMemory",
        "ParityError",
        "RunInterrupted",
        "ServerError",
        "SpecError",
        "StorageError",
        "TrainingDiverged",
        "UnsupportedTask",
    ),
    "loratory.protocols": ("Prediction",),
    "loratory.specs.spec": ("Spec",),
}
_MODULE_BY_NAME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "ArtifactError",
    "BaseModelError",
    "BlockingCallWarning",
    "CheckResult",
    "Classifier",
    "DataError",
    "Evaluation",
    "Export",
    "ExtensionError",
    "Ladder",
    "LadderRow",
    "LoratoryError",
    "MissingExtra",
    "Model",
    "OutOfMemory",
    "ParityError",
    "Prediction",
    "Recipe",
    "Run",
    "RunInterrupted",
    "RunningServer",
    "Score",
    "ServerError",
    "Spec",
    "SpecError",
    "StorageError",
    "StressResult",
    "StressRow",
    "TrainingDiverged",
    "UnsupportedTask",
    "Verdict",
    "VerifiedExport",
    "WrittenSpec",
    "__version__",
    "bases",
    "check",
    "evaluate",
    "export",
    "gate",
    "get_base",
    "init",
    "load",
    "open_registry",
    "open_run",
    "promote",
    "read_spec",
    "recipes",
    "register",
    "rollback",
    "run",
    "serve",
    "stress",
    "suggest_base",
    "verify",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used (PEP 562)."""
        if name not in _MODULE_BY_NAME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(_MODULE_BY_NAME[name]), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return list(__all__)
