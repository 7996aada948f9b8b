"""`serve:` of a spec: who answers when, and the configuration of a server that holds many tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_EXAMPLES, MAX_EXAMPLE_CHARACTERS = 8, 500
ExampleText = Annotated[str, Field(min_length=1, max_length=MAX_EXAMPLE_CHARACTERS)]


class ServeSpec(BaseModel):
    """How a run's task is served."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contender: str | None = Field(None, description="who answers; left out: the one that the verdict recommends")
    fallback: tuple[str, ...] = Field(
        (), description="contenders that answer, in this order, where the one before is late, fails or is full"
    )
    deadline_ms: float | None = Field(
        None, gt=0, description="an answer is due after so many milliseconds; left out: the server's own limit"
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
    """A task of a server; what is left out stands in the run's own spec."""

    path: Path = Field(description="a run, a fit's folder, or an imported folder")


class LimitsSpec(BaseModel):
    """What a server takes on. All of it is bounded."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    body_bytes: int = Field(1 << 20, ge=1024, description="of a request")
    texts: int = Field(256, ge=1, description="in one request")
    characters: int = Field(20_000, ge=1, description="of one text")
    new_tokens: int = Field(1024, ge=1, description="of one written answer")
    batch_tokens: int = Field(2048, ge=1, description="of one pass through a backbone, estimated")
    queue_tokens: int = Field(65_536, ge=1, description="that wait for a backbone, estimated; more is refused with 429")
    requests: int = Field(512, ge=1, description="at a time; more are refused with 429")
    connections: int = Field(
        2048, ge=1, description="that are open; more are answered 503, as are more than the process may open files"
    )
    per_second: float | None = Field(None, gt=0, description="requests of one key, on average; left out: not limited")
    burst: int = Field(20, ge=1, description="requests of one key at once, where per_second is given")
    timeout_ms: float = Field(30_000, gt=0, description="within which every answer is due where a task has no deadline")
    drain_ms: float = Field(10_000, ge=0, description="for what was accepted before SIGTERM")


class ServerSpec(BaseModel):
    """A server's own YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str = Field("127.0.0.1", description="another address than this machine's own needs keys")
    port: int = Field(8000, ge=0, le=65535, description="0: any free one")
    hosts: tuple[str, ...] = Field(
        (),
        description="names by which clients may call the server, beside localhost, the address that it is bound to and "
        "the machine's name where that is the same; bound to all addresses: beside any address and the machine's name",
    )
    tasks: dict[str, ServedTaskSpec] = Field(default_factory=dict, description="name -> what is served under it")
    discover: Path | None = Field(
        None, description="a folder of router models: the first family with intent, pii and security in it is served"
    )
    roles: dict[Literal["intent", "pii", "security"], str] = Field(
        default_factory=dict, description="which tasks answer POST /api/v1/classify/batch"
    )
    default: str | None = Field(None, description="the task of POST /predict/; left out: the first that gives labels")
    keys: Path | None = Field(
        None,
        description="a file that loratory keys writes: hashed keys with their scopes; read again when it changes",
    )
    adapters: Path | None = Field(None, description="the folder from which a running server may load; left out: none")
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        "auto",
        description="of the backbone's products; auto: bf16 where the machine has it and a run's validation part gets "
        "the same labels; int8: encoders, merged with their adapters, on ONNX Runtime",
    )
    threads: int | None = Field(
        None, ge=1, description="that compute a backbone's products, or its rows in int8; left out: the machine's cores"
    )
    texts_in_logs: bool = Field(False, description="whether logs hold what clients send")
    audit: Path = Field(
        Path(".loratory/audit.jsonl"),
        description="where loads, unloads and keys are written down; beside it, in .head, the hash of its last line",
    )
    limits: LimitsSpec = Field(default_factory=LimitsSpec, description="what it takes on")
