"""What came back, or why nothing did; and the error that it is for a person."""

from __future__ import annotations

import json
import re
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from loratory.errors import ServerError

RETRYABLE_STATUSES = (429, 503)  # a server that says so may answer a moment later
RETRYABLE_ERRORS = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
)
MESSAGE_PATTERN = re.compile(r"(?s)(?P<problem>.*?); (?:allowed|there are): (?P<allowed>.*)")  # of a server's message
INPUT_PATTERN = re.compile(r"inputs\.(\d+)")
REMEDIES = {
    401: "pass key=..., or set LORATORY_KEY",
    413: "send less at once, or raise the server's limits",
    504: "send less at once, or give the task more time: serve: {deadline_ms: ...}",
}
MAX_SHOWN_CHARACTERS = 200  # characters of a page that is no error of ours


@dataclass(frozen=True)
class Reply:
    """A server's answer; status 0 where there is none, and `said` then says why."""

    status: int
    body: bytes = b""
    where: str = ""
    retry_after: float | None = None  # seconds after which the server wants to be asked again
    problem: str = ""
    code: str = ""
    retryable: bool = False  # whether asking again may help

    def parse_json(self) -> Any:
        """The JSON of an answer. Raises ServerError."""
        if self.status != 200:
            raise self.to_error()
        try:
            return json.loads(self.body)
        except ValueError:
            raise self.unexpected_reply("it is no JSON") from None

    def unexpected_reply(self, reason: str) -> ServerError:
        """The error for an answer of somebody else."""
        remedy = "check the address; is it another server, or a proxy's page?"
        return ServerError(
            f"this is no answer of loratory serve: {reason}", where=self.where, status=self.status, remedy=remedy
        )

    def to_error(self, first_input: int = 0) -> ServerError:
        """What the server said; `first` is the number of the request's first input among all inputs."""
        if not self.status:
            return ServerError(
                self.problem, where=self.where, code=self.code, remedy="check the address and the server"
            )
        told = self._parse_error()
        found = MESSAGE_PATTERN.fullmatch(told["message"])
        problem, allowed = (found["problem"], found["allowed"]) if found else (told["message"], "")
        place = INPUT_PATTERN.sub(lambda number: f"inputs.{int(number[1]) + first_input}", str(told.get("param") or ""))
        return ServerError(
            problem,
            where=f"{self.where}: {place}" if place else self.where,
            status=self.status,
            code=str(told.get("code") or ""),
            allowed=allowed,
            remedy=self._remedy(),
        )

    def _parse_error(self) -> dict[str, Any]:
        try:
            told = json.loads(self.body)["error"]
            return {**told, "message": str(told["message"])}
        except (ValueError, TypeError, KeyError):
            shown = " ".join(self.body[:MAX_SHOWN_CHARACTERS].decode("utf-8", "replace").split())
            return {"message": f"the server answered {self.status}" + (f": {shown}" if shown else "")}

    def _remedy(self) -> str:
        if self.status in RETRYABLE_STATUSES:
            return f"try again in {self.retry_after:g} s" if self.retry_after else "try again later"
        return REMEDIES.get(self.status, "")


def to_reply(response: httpx.Response) -> Reply:
    """A response whose body was read."""
    where = f"{origin_of(response.request.url)}{response.request.url.path}"
    after = parse_retry_after(response.headers.get("retry-after"), time.time())
    return Reply(
        response.status_code, response.content, where, after, retryable=response.status_code in RETRYABLE_STATUSES
    )


def to_failed_reply(problem: httpx.RequestError) -> Reply:
    """The reply that never came."""
    where = origin_of(problem.request.url) if getattr(problem, "_request", None) is not None else ""
    if isinstance(problem, httpx.TimeoutException) and not isinstance(problem, httpx.ConnectTimeout):
        return Reply(0, where=where, problem="the server did not answer in time", code="timeout")
    why = str(problem) or type(problem).__name__
    certificate = isinstance(_root_cause_of(problem), ssl.SSLError)
    return Reply(
        0,
        where=where,
        problem=f"there is no answer: {why}",
        retryable=isinstance(problem, RETRYABLE_ERRORS) and not certificate,
    )


def _root_cause_of(problem: BaseException) -> BaseException:
    while (inner := problem.__cause__ or problem.__context__) is not None:
        problem = inner
    return problem


def origin_of(url: httpx.URL) -> str:
    """Scheme, host and port: never the password that an address may hold."""
    return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


def parse_retry_after(header: str | None, now: float) -> float | None:
    """A Retry-After header, in seconds or as a date, to seconds from `now` (Unix time); None where it is neither."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(parsedate_to_datetime(header).timestamp() - now, 0.0)
    except (ValueError, OverflowError):
        return None
