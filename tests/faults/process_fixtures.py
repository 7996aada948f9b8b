"""Imports everything once, then forks a child for each command that it reads from stdin (see world.Nursery)."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from killing import install  # type: ignore[import-not-found]  # beside this file, which is run

PRELOADED_MODULES = (
    "loratory.cli",
    "loratory.experiment.run",
    "loratory.experiment.train",
    "loratory.training.encoders",
    "loratory.predictors.linear",
    "loratory.regimes.lora",
    "loratory.exporting.stock_layouts",
    "peft",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.configuration_bert",
    "sklearn.linear_model",
    "sklearn.feature_extraction.text",
    "scipy.sparse",
    "pyarrow.parquet",
    "datasketch",
    "loratory.serving.launcher",
    "loratory.serving.http.server_process",
    "loratory.serving.app",
)


def serve_commands() -> None:
    for name in PRELOADED_MODULES:
        importlib.import_module(name)
    write_answer({"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        with tempfile.TemporaryDirectory() as folder:
            for name in ("out", "err"):
                (Path(folder) / name).touch()
            pid = os.fork()
            if pid == 0:
                run_child(request, Path(folder))
            write_answer({"pid": pid})
            sys.stdin.buffer.readline()  # until then it is not reaped, so that its id can be nobody else's
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            write_answer(
                {"code": code, **{name: (Path(folder) / name).read_text("utf-8", "replace") for name in ("out", "err")}}
            )


def run_child(request: dict[str, Any], folder: Path) -> None:
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(folder / name, os.O_WRONLY), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    os.environ.update(request["environment"])
    install(request["environment"], Path(request["folder"]) / "runs")
    sys.argv = ["loratory", *request["words"]]
    code = 1
    try:
        from loratory.cli import main

        main()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def write_answer(value: dict[str, Any]) -> None:
    sys.__stdout__.write(json.dumps(value) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    serve_commands()
