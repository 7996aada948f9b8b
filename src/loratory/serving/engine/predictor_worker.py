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

from loratory.errors import ArtifactError, LoratoryError
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


def encode_frame(value: JSON) -> bytes:
    """One frame. Floats keep every bit: JSON writes their shortest exact form. Raises TypeError, ValueError."""
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return FRAME_LENGTH.pack(len(body)) + body


def prediction_to_json(made: Prediction) -> JSON:
    """As plain data."""
    odds = {pointer: dict(each) for pointer, each in made.probabilities.items()}
    return [made.answer, odds, made.reason, made.raw, made.answered_by]


def prediction_from_json(value: Sequence[Any]) -> Prediction:
    """The prediction that `prediction_to_json` has written."""
    answer, odds, reason, raw, answered_by = value
    return Prediction(answer, odds, reason, raw, answered_by)


class BackboneMissing(LookupError):
    """A predictor has asked for what this process does not load."""


class NoBackbones:
    """A pool for predictors that need none."""

    def get(self, name: str, digest: str, files: object) -> Any:
        """Raises BackboneMissing."""
        raise BackboneMissing(f"{name} needs a backbone, and this process has none")


def refuse_requests(requests: Sequence[InferenceRequest], deadline: float | None = None) -> list[Any]:
    """Raises BackboneMissing: there is no backbone to ask."""
    raise BackboneMissing("a predictor in this process has asked a backbone")


class PredictorHost:
    """Predictors by the digest of their artifact's manifest, loaded when they are first asked for."""

    def __init__(self) -> None:
        self._predictors: dict[str, Predictor] = {}
        self._failures: dict[str, str] = {}  # releases that cannot be loaded here, which would fail again

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
            return {"error": _describe_error(problem)}

    def answer_frame(self, asked: Mapping[str, Any]) -> bytes:
        """The answer as a frame; an error where it cannot be written as JSON."""
        number = {"number": asked["number"]}
        try:
            return encode_frame({**number, **self.answer(asked)})
        except (TypeError, ValueError) as problem:
            return encode_frame({**number, "error": f"its answer is no JSON ({type(problem).__name__})"})

    def _load(self, folder: str, release: str) -> Predictor:
        """Raises ArtifactError for files that are not those that the server has read."""
        if release in self._failures:
            raise ArtifactError(self._failures[release], where=folder)
        if release not in self._predictors:
            try:
                self._predictors[release] = _load_predictor(folder, release)
            except Exception as problem:
                self._failures[release] = _describe_error(problem)
                raise
        return self._predictors[release]


def _load_predictor(folder: str, release: str) -> Predictor:
    from loratory.artifacts.manifests import open_artifact
    from loratory.predictors.predictor_files import load_predictor

    artifact = open_artifact(Path(folder))
    if artifact.manifest_digest != release:
        raise ArtifactError("it is another artifact than the one that is served", where=folder)
    return load_predictor(artifact, NoBackbones())


def _describe_error(problem: Exception) -> str:
    """For the log. What other errors say may hold a client's text, so that their kind alone is told."""
    kind = type(problem).__name__
    return f"{kind}: {problem}" if isinstance(problem, LoratoryError | BackboneMissing) else kind


def main() -> None:
    """Answer frames until there are no more."""
    for number in (signal.SIGINT, signal.SIGTERM):  # a terminal or systemd sends them to both processes:
        signal.signal(number, signal.SIG_IGN)  # the server drains, and then closes the pipe
    # What a library prints must not stand between frames.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    host = PredictorHost()
    while (asked := read_frame(sys.stdin.buffer)) is not None:
        answers.write(host.answer_frame(asked))
        answers.flush()


if __name__ == "__main__":
    main()
