"""The child process that answers for predictors in pure Python: `python -m` this module, frames on stdin and stdout.

A frame is four bytes of length (big-endian) and so many bytes of JSON. Requests are answered one after another. The
process ends when its stdin does: with the server, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from loratory.protocols import JSON, InferenceRequest, Prediction, Predictor

FRAME_LENGTH = struct.Struct(">I")


def read_frame(stream: IO[bytes]) -> Any:
    """The next frame's JSON; None at the end of the stream, also in the middle of a frame."""
    head = stream.read(FRAME_LENGTH.size)
    if len(head) < FRAME_LENGTH.size:
        return None
    (length,) = FRAME_LENGTH.unpack(head)
    body = stream.read(length)
    return json.loads(body) if len(body) == length else None


def write_frame(stream: IO[bytes], value: JSON) -> None:
    """One frame, flushed. Floats keep every bit: JSON writes their shortest exact form."""
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    stream.write(FRAME_LENGTH.pack(len(body)) + body)
    stream.flush()


def prediction_to_json(made: Prediction) -> JSON:
    """As plain data."""
    odds = {pointer: dict(each) for pointer, each in made.probabilities.items()}
    return [made.answer, odds, made.reason, made.raw, made.answered_by]


def prediction_from_json(value: Sequence[Any]) -> Prediction:
    """The prediction that `prediction_to_json` has written."""
    answer, odds, reason, raw, answered_by = value
    return Prediction(answer, odds, reason, raw, answered_by)


class NoBackbones:
    """A pool for predictors that need none."""

    def get(self, name: str, digest: str, files: object) -> Any:
        """Raises LookupError."""
        raise LookupError(f"{name} needs a backbone, and this process has none")


def refuse_requests(requests: Sequence[InferenceRequest], deadline: float | None = None) -> list[Any]:
    """Raises LookupError: there is no backbone to ask."""
    raise LookupError("a predictor in this process has asked a backbone")


class PredictorHost:
    """Predictors by the digest of their artifact's manifest, loaded when they are first asked for."""

    def __init__(self) -> None:
        self._predictors: dict[str, Predictor] = {}

    def answer(self, asked: Mapping[str, Any]) -> dict[str, JSON]:
        """The answer to one frame: predictions and the seconds they took; `late` past its deadline; or an error."""
        try:
            predictor = self._load(asked["folder"], asked["release"])
            if asked["deadline"] is not None and time.monotonic() > asked["deadline"]:
                return {"late": True}
            started = time.perf_counter()
            made = predictor.predict(asked["inputs"], refuse_requests)
            return {
                "predictions": [prediction_to_json(one) for one in made],
                "seconds": time.perf_counter() - started,
            }
        except MemoryError:
            return {"error": "out of memory"}
        except Exception as problem:
            return {"error": f"{type(problem).__name__}: {problem}"}

    def _load(self, folder: str, release: str) -> Predictor:
        """Raises ArtifactError for files that are not those that the server has read."""
        if release not in self._predictors:
            from loratory.artifacts.manifests import open_artifact
            from loratory.errors import ArtifactError
            from loratory.predictors.predictor_files import load_predictor

            artifact = open_artifact(Path(folder))
            if artifact.manifest_digest != release:
                raise ArtifactError("it is another artifact than the one that is served", where=folder)
            self._predictors[release] = load_predictor(artifact, NoBackbones())
        return self._predictors[release]


def main() -> None:
    """Answer frames until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the server's: it drains, and then closes the pipe
    # What a library prints must not stand between frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    host = PredictorHost()
    while (asked := read_frame(sys.stdin.buffer)) is not None:
        write_frame(answers, {"number": asked["number"], **host.answer(asked)})


if __name__ == "__main__":
    main()
