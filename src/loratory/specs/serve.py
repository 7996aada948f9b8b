"""`serve:` of a spec: who answers when, and the configuration of a server that holds many tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_EXAMPLES, MAX_EXAMPLE_CHARACTERS = 8, 500
ExampleText = Annotated[str, Field(min_length=1, max_length=MAX_EXAMPLE_CHARACTERS)]


class ServeSpec(BaseModel):
    """How the task of a run is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contender: str | None = Field(
        None, description="Contender that answers. Default: the one that the verdict recommends."
    )
    fallback: tuple[str, ...] = Field(
        (),
        description="Fallback chain: contenders that answer, in this order, when the one before is late, fails or has "
        "a full queue.",
    )
    deadline_ms: float | None = Field(
        None, gt=0, description="Deadline of an answer, in milliseconds. Default: `timeout_ms` of the server."
    )
    examples: tuple[ExampleText, ...] = Field(
        (),
        max_length=MAX_EXAMPLES,
        description='texts that a visitor of the page can click to fill the box, such as ["My card was stolen"]; at '
        f"most {MAX_EXAMPLES}, of at most {MAX_EXAMPLE_CHARACTERS} characters. For a task of several fields, an input "
        "as JSON. Every visitor can read them, so write them for this purpose. Texts of the data are never shown as "
        "examples",
    )


class ServedTaskSpec(ServeSpec):
    """One task of a server. Missing keys are read from the spec of the run."""

    path: Path = Field(description="Folder of a run, of a fit, or of an imported model.")


class LimitsSpec(BaseModel):
    """Limits on load and request size. Every one is finite, except the optional rate limit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: int = Field(1 << 20, ge=1024, description="Maximum size of a request body, in bytes.")
    texts: int = Field(256, ge=1, description="Maximum number of texts in one request.")
    characters: int = Field(20_000, ge=1, description="Maximum length of one text, in characters.")
    new_tokens: int = Field(1024, ge=1, description="Maximum length of one generated answer, in tokens.")
    batch_tokens: int = Field(
        2048,
        ge=1,
        description="Maximum size of one batch through a backbone, in estimated tokens. Lower it to reduce latency "
        "under load.",
    )
    queue_tokens: int = Field(
        65_536, ge=1, description="Maximum queue of one backbone, in estimated tokens. More requests get status 429."
    )
    requests: int = Field(512, ge=1, description="Maximum number of requests in progress. More get status 429.")
    connections: int = Field(
        2048,
        ge=1,
        description="Maximum number of open connections. More get status 503, also when the process reaches its limit "
        "of open files.",
    )
    per_second: float | None = Field(
        None, gt=0, description="Rate limit of one API key: requests per second, on average. Default: no limit."
    )
    burst: int = Field(20, ge=1, description="Requests that one key may send at once when `per_second` is set.")
    timeout_ms: float = Field(
        30_000, gt=0, description="Latest deadline of every answer, in milliseconds. A task can set an earlier one."
    )
    drain_ms: float = Field(
        10_000, ge=0, description="Time after SIGTERM to finish accepted requests, in milliseconds."
    )


class ServerSpec(BaseModel):
    """The YAML file of a server."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field(
        "127.0.0.1", description="Address to listen on. An address that other machines can reach requires `keys`."
    )
    port: int = Field(8000, ge=0, le=65535, description="TCP port. 0: any free port.")
    hosts: tuple[str, ...] = Field(
        (),
        description="Extra host names that clients may use. localhost and the bound address are always allowed, and "
        "the machine's name if it means that address. A server on all addresses allows any address and "
        "the machine's name.",
    )
    tasks: dict[str, ServedTaskSpec] = Field(
        default_factory=dict, description="Task name -> what is served under that name."
    )
    discover: Path | None = Field(
        None,
        description="Folder of semantic-router models. The first model family with intent, pii and security is served.",
    )
    roles: dict[Literal["intent", "pii", "security"], str] = Field(
        default_factory=dict, description="Role -> task that answers it in POST /api/v1/classify/batch."
    )
    default: str | None = Field(
        None, description="Task of POST /predict/. Default: the first task that predicts labels."
    )
    keys: Path | None = Field(
        None,
        description="File of hashed API keys and their scopes, written by `loratory keys`. A change is read without a "
        "restart.",
    )
    adapters: Path | None = Field(
        None, description="Folder from which a running server may load models. Default: loading is off."
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="Number format of the backbone. auto: bf16 if this CPU is faster in it and at least 99 % of "
        "validation answers stay the same, else fp32; int8: encoders with merged adapters on ONNX "
        "Runtime.",
    )
    threads: int | None = Field(
        None, ge=1, description="Number of CPU threads for a backbone (in int8: for its rows). Default: all cores."
    )
    isolation: Literal["process", "thread"] = Field(
        "process",
        description="Where contenders without a base (rules, tfidf) compute. process: in a process of their own, so "
        "that they hold up no request under load; thread: in the server's process, which takes less memory.",
    )
    texts_in_logs: bool = Field(
        False, description="Write the texts of clients to the logs. Keep it off for personal data."
    )
    audit: Path = Field(
        Path(".loratory/audit.jsonl"),
        description="Audit log of loads, unloads and key changes. The file with the suffix .head beside it holds the "
        "hash of its last line.",
    )
    limits: LimitsSpec = Field(default_factory=LimitsSpec, description="Limits on load and request size.")
