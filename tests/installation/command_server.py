"""Imports the package once, then forks a child for each command that it reads from stdin (see shells.ForkShell)."""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

PRELOADED_MODULES = (
    "loratory.cli",
    "loratory.experiment.run",
    "loratory.experiment.rebuild_report",
    "loratory.experiment.inference.local_prediction",
    "loratory.regimes.lora",
    "loratory.regimes.tfidf",
    "loratory.predictors.linear",
    "loratory.serving.launcher",
    "loratory.serving.http.server_process",
    "sklearn.linear_model",
    "sklearn.feature_extraction.text",
    "scipy.stats",
    "jinja2",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "pyarrow.parquet",
    "torch",
)


def serve_commands() -> None:
    """Answer {"words" or "code", "folder", "files"} with {"pid"}, and {"wait": pid} with {"code"}."""
    for name in PRELOADED_MODULES:
        importlib.import_module(name)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        if "wait" in request:
            answer = {"code": os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])}
        else:
            pid = os.fork()
            if pid == 0:
                run_child(request)
            answer = {"pid": pid}
        sys.__stdout__.write(json.dumps(answer) + "\n")  # type: ignore[union-attr]
        sys.__stdout__.flush()  # type: ignore[union-attr]
    os._exit(0)  # the libraries have nothing to tidy up


def run_child(request: dict[str, Any]) -> None:
    for number, file in enumerate(request["files"]):
        os.dup2(os.open(file, os.O_WRONLY if number else os.O_RDONLY), number)
    os.chdir(request["folder"])
    code = 1
    try:
        if "code" in request:
            exec(compile(request["code"], "<code>", "exec"), {"__name__": "__main__"})
            code = 0
        else:
            sys.argv = ["loratory", *request["words"]]
            from loratory.cli import main

            main()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(done.code is not None)
    except BaseException as problem:
        sys.excepthook(type(problem), problem, problem.__traceback__)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve_commands()
