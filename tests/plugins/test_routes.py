"""A dialect of somebody else, served by `loratory serve`: in the document, with errors of its own, under its scope."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from loratory import discovery
from route_checks import check_dialect
from serving_fixtures import make_router_server

from .conftest import HOME, write_dist_info

COMMAND = "from loratory.cli import main; main()"
SPEC = "name: cards\ntask: {kind: classify}\ndata: data.jsonl\nladder: [tfidf]\n"
TEXTS = {"card": "my card was {} in the shop", "cash": "the cash machine gave {} notes", "login": "I {} sign in today"}
WORDS = ("lost", "stolen", "eaten", "blocked", "broken", "old", "two", "never", "again", "cannot", "no", "torn")


@dataclass(frozen=True)
class PluginServer:
    """A server with the plug-in, and a key of it."""

    url: str
    key: str

    def request(self, method: str, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key if key is None else key}"}
        return httpx.request(method, self.url + path, json=body, headers=headers, timeout=20)


@pytest.fixture(scope="module")
def plugin_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginServer]:
    folder, site = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("site")
    write_dist_info(site)
    paths = [str(site), str(HOME), os.environ.get("PYTHONPATH", "")]
    state = {"XDG_STATE_HOME": str(folder / "state"), "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **state, "PYTHONPATH": os.pathsep.join(paths)}
    rows = [{"text": text.format(word), "label": label} for label, text in TEXTS.items() for word in WORDS]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "spec.yaml").write_text(SPEC)

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND, *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("run", "spec.yaml")
    key = run("keys", "add", "ann", "--file", "keys.json").strip()
    words = ["serve", "runs/cards", "--keys", "keys.json", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        told = ""
        while (found := re.search(r"http://[\d.]+:\d+", told)) is None:
            line = process.stdout.readline()
            assert line, told
            told += line
        yield PluginServer(found[0], key)
    finally:
        process.terminate()
        process.wait(20)
        if process.stdout is not None:
            process.stdout.close()


def infer(*texts: str) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts)}
    return {"id": "1", "inputs": [tensor]}


def test_it_answers_as_our_own_interface_does(plugin_server: PluginServer) -> None:
    texts = ("my card was lost", "the cash machine gave no notes")
    found = plugin_server.request("POST", "/v2/models/cards/infer", infer(*texts))
    assert found.status_code == 200, found.text
    ours = plugin_server.request("POST", "/v1/tasks/cards/predict", {"inputs": texts}).json()["predictions"]
    assert found.json()["outputs"][0]["data"] == [one["answer"]["label"] for one in ours]
    assert found.json()["model_version"] == ours[0]["release"]
    assert plugin_server.request("GET", "/v2/models/cards").json()["labels"] == ["card", "cash", "login"]


def test_it_stands_in_the_document(plugin_server: PluginServer) -> None:
    told = plugin_server.request("GET", "/openapi.json").json()
    operation = told["paths"]["/v2/models/cards/infer"]["post"]
    assert (operation["operationId"], operation["tags"]) == ("kserve_infer_cards", ["kserve"])
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["inputs"]["items"] == {"$ref": "#/components/schemas/Tensor"}
    assert set(told["components"]["schemas"]["Tensor"]["properties"]) == {"name", "datatype", "shape", "data"}
    assert operation["security"][0] == {"key": ["infer"]}
    reference = operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"]
    assert told["components"]["schemas"][reference.rpartition("/")[2]]["properties"] == {"error": {"type": "string"}}
    assert "/v2/models/cards/infer" in plugin_server.request("GET", "/docs").text


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "text"),
    [
        ("POST", "/v2/models/cards/infer", {}, 400, "inputs: Field required"),
        ("POST", "/v2/models/cards/infer", infer(""), 422, "inputs.0.data.0: the text is empty"),
        ("POST", "/v2/models/none/infer", infer("a"), 404, "there is no task 'none'; there are: cards"),
        ("GET", "/v2/models/cards/infer", None, 405, "allowed: POST"),
        ("GET", "/v2/nothing", None, 404, "there is nothing at this path"),
    ],
)
def test_its_errors_have_its_shape(
    plugin_server: PluginServer, method: str, path: str, body: Any, status: int, text: str
) -> None:
    found = plugin_server.request(method, path, body)
    assert (found.status_code, found.json()) == (status, {"error": text})


def test_its_scope_is_held(plugin_server: PluginServer) -> None:
    for key in ("none", "lk_wrong"):
        found = plugin_server.request("POST", "/v2/models/cards/infer", infer("a"), key)
        assert (found.status_code, found.headers["www-authenticate"]) == (401, "Bearer")
        assert found.json() == {"error": "this needs a key: send it as Authorization: Bearer KEY"}


@pytest.mark.usefixtures("plugins")
def test_it_holds_to_the_protocol(tmp_path: Path) -> None:
    server = make_router_server(tmp_path)
    check_dialect(discovery.load_named("routes", "kserve")(), server)
    server.engine.close()


def test_the_page_shows_the_very_file() -> None:
    page = (HOME.parent.parent / "docs" / "extending" / "routes.md").read_text(encoding="utf-8")
    assert (HOME / "example_plugins" / "kserve.py").read_text(encoding="utf-8") in page
    line = 'kserve = "example_plugins.kserve:KServeRoutes"'
    assert line in page
    assert line in (HOME / "pyproject.toml").read_text(encoding="utf-8")
