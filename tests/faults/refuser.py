"""Imports everything once; forks a child for each request from stdin, whose disk refuses (see test_refused_writes)."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

from faults.process_fixtures import PRELOADED_MODULES, write_answer  # noqa: E402
from faults.run_fixtures import run_command  # noqa: E402


def child(request: dict[str, Any]) -> dict[str, Any]:
    """Commands one after another, until one does not end well; how they ended, and what was refused."""
    disk = ctypes.CDLL(None)
    disk.refused.restype, disk.refused_call.restype = ctypes.c_long, ctypes.c_char_p
    at, code, lasting, removals = request["refuse"]
    os.environ.update(request["environment"])
    disk.refuse(os.fsencode(request["folder"]), ctypes.c_long(at), code, int(lasting), int(removals))
    done = []
    for words in request["commands"]:
        one = run_command(Path(request["folder"]), *words)
        done.append([one.code, one.err])
        if one.code:
            break
    failed = disk.refused(2)
    return {"done": done, "calls": disk.refused(0), "failed": failed, "call": disk.refused_call().decode()}


def serve() -> None:
    for name in PRELOADED_MODULES:
        importlib.import_module(name)
    from loratory.experiment import results

    setattr(results, "render_report", lambda *_: "<html></html>")  # noqa: B010 its charts take a second to draw
    write_answer({"ready": True})
    for line in sys.stdin:
        reader, writer = os.pipe()
        if not (pid := os.fork()):
            try:
                told = json.dumps(child(json.loads(line)))
            except BaseException as problem:
                told = json.dumps({"broken": repr(problem)})
            with os.fdopen(writer, "w") as out:
                out.write(told)
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as back:
            told = back.read()
        os.waitpid(pid, 0)
        write_answer(json.loads(told or '{"broken": "it died"}'))


if __name__ == "__main__":
    serve()
