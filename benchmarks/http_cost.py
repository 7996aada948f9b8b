"""What a request costs beside its computation: processor time of a server whose predictor answers at once.

python benchmarks/http_cost.py [--requests 3000] [--rounds 5]

Ours (`predict`: keys, limits, contract, queue, worker thread, log, metrics; `live`: its health check), a Starlette app
that parses the same body and writes the same answer, and a bare ASGI function under the same uvicorn. Each server has
one core, the clients the other; servers take turns. One client asks in turn, then eight at once. Milliseconds of
processor time (user and system) for a request are medians over rounds. Writes results/<processor>/http_cost.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from load import Connection, post
from processors import describe_machine, result_file

LABELS = ("card", "cash", "login")
TEXT = "I cannot find the card that you sent me last week, and the app does not know it"
PATHS = {"predict": "/v1/tasks/intents/predict", "live": "/health/live", "starlette": "/predict", "uvicorn": "/predict"}
CLIENTS = (1, 8)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(eq=False)
class InstantBackbone:
    """Answers at once: what is left is the server's own cost."""

    name: str = "instant"
    digest: str = "instant"

    def incremental_cost(self, network: Any) -> float:
        """As a backbone whose tasks share nothing."""
        return 1.0

    def encode(self, requests: Sequence[Any], alive: Any = None) -> list[int]:
        """A constant for each text."""
        return [0 for _ in requests]


@dataclass(eq=False)
class InstantPredictor:
    """Asks the backbone once, as encoders do."""

    task: Any
    network: Any

    def plan(self, inputs: Sequence[Any]) -> Any:
        """One request for each input."""
        from loratory.protocols import EncodeRequest, InferencePlan

        def read(outputs: Sequence[Any]) -> list[Any]:
            odds = {"card": 0.75, "cash": 0.125, "login": 0.125}
            return [self.task.from_probabilities({}, odds) for _ in outputs]

        return InferencePlan([EncodeRequest(self.network, (0,)) for _ in inputs], read)


def serve_ours(port: int) -> None:
    """A server as `loratory serve` starts it, with one task."""
    from loratory.protocols import Network
    from loratory.serving.app import create_app
    from loratory.serving.engine.inference_engine import Engine
    from loratory.serving.engine.service_registry import FallbackStage, Service, ServiceRegistry
    from loratory.serving.http.log_setup import configure_logging
    from loratory.serving.http.server import Server
    from loratory.serving.http.server_process import ServerProcess, bind_socket
    from loratory.serving.launcher import THREAD_SWITCH_SECONDS
    from loratory.specs.serve import ServerSpec
    from loratory.tasks.classify import Classify

    configure_logging(include_texts=False)
    backbone: Any = InstantBackbone()
    stage = FallbackStage("lora", InstantPredictor(Classify(labels=LABELS), Network(backbone)), "0" * 64)  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        spec = ServerSpec.model_validate({"audit": Path(folder) / "audit.jsonl", "port": port})
        registry = ServiceRegistry({"intents": Service("intents", (stage,), None)}, {}, None)
        server = Server(spec, registry, Engine(), lambda name, path: next(iter(registry)))
        sys.setswitchinterval(THREAD_SWITCH_SECONDS)
        ServerProcess(create_app(server, None), server, lambda line: None).run([bind_socket("127.0.0.1", port)])


def serve_starlette(port: int) -> None:
    """The least that a person would write: parse the body, answer the same."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    answer = {"answer": {"label": "card"}, "confidence": 0.75, "probabilities": {"card": 0.75, "cash": 0.125}}

    async def predict(request: Request) -> JSONResponse:
        body = await request.json()
        return JSONResponse({"predictions": [answer for _ in body["inputs"]]})

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")


def serve_uvicorn(port: int) -> None:
    """A function that reads the body and answers a constant."""
    import uvicorn

    body = json.dumps({"predictions": [{"answer": {"label": "card"}}]}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")


SERVERS = {"ours": serve_ours, "starlette": serve_starlette, "uvicorn": serve_uvicorn}


@dataclass
class Running:
    """A server in a process of its own, on the first core."""

    name: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


def start(name: str) -> Running:
    """Start a server and wait until it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    command = ["taskset", "-c", "0", sys.executable, __file__, "--serve", name, "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    for _ in range(600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return Running(name, port, process)
        time.sleep(0.1)
    raise SystemExit(f"{name} did not start")


async def ask(port: int, request: bytes, count: int, clients: int) -> float:
    """Seconds in which so many requests were answered; each client asks again when it has its answer."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Connection, "127.0.0.1", port) for _ in range(clients)]

    async def keep_sending(connection: Any, number: int) -> None:
        for _ in range(number):
            status, body = await connection.ask(request)
            assert status == 200, body

    started = time.perf_counter()
    await asyncio.gather(*(keep_sending(connection, count // clients) for _, connection in made))
    seconds = time.perf_counter() - started
    for transport, _ in made:
        transport.close()
    return seconds


def measure(server: Running, path: str, count: int, clients: int) -> dict[str, float]:
    """Processor time and time of one request, in milliseconds."""
    body = json.dumps({"inputs": [TEXT]}).encode()
    live = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
    request = live if path == PATHS["live"] else post(path, body, server.port)
    before = server.cpu_seconds()
    seconds = asyncio.run(ask(server.port, request, count, clients))
    done = count // clients * clients
    return {"cpu_ms": 1000 * (server.cpu_seconds() - before) / done, "ms": 1000 * seconds * clients / done}


def main() -> None:
    """Start the servers, let them take turns, write the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--serve", choices=SERVERS)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    if given.serve:
        SERVERS[given.serve](given.port)
        return
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    servers = {name: start(name) for name in SERVERS}
    places = {"predict": "ours", "live": "ours", "starlette": "starlette", "uvicorn": "uvicorn"}
    found: dict[tuple[str, int], list[dict[str, float]]] = {}
    try:
        for number in range(given.rounds + 1):  # the first warms up
            for what, name in places.items():
                for clients in CLIENTS:
                    one = measure(servers[name], PATHS[what], given.requests, clients)
                    if number:
                        found.setdefault((what, clients), []).append(one)
    finally:
        for server in servers.values():
            server.process.terminate()
    table: dict[str, Any] = {}
    for (what, clients), several in found.items():
        row = {key: round(median(one[key] for one in several), 3) for key in ("cpu_ms", "ms")}
        spread = [round(extreme(one["cpu_ms"] for one in several), 3) for extreme in (min, max)]
        table.setdefault(what, {})[f"clients_{clients}"] = {**row, "cpu_ms_range": spread}
        print(what, clients, row, spread, flush=True)
    result = {"machine": describe_machine(), "requests": given.requests, "rounds": given.rounds, "cost": table}
    result_file("http_cost").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
