"""Serving side by side: ours as it chooses and in int8, transformers' pipeline and ONNX Runtime int8 behind FastAPI.

python benchmarks/serving.py RUN --test FILE [--adapters 1,8,32,128] [--seconds 4] [--rounds 2]

RUN is a run whose recommended contender is a LoRA with `head: stock`, so that all three serve the same fit; FILE is its
labelled test file (columns text and label as the run reads them). Servers and generator are processes of their own, on
one machine; one text a request. Texts/s is the highest rate of answers over an open-loop ramp of offered rates,
the mean over rounds in which the servers take turns. Latency counts from when a request was due. Adapters beside the
first are the fit's own with noise on their weights: what they answer does not matter there, what they cost does.
Needs fastapi, for the servers of
others. Writes results/serving.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from load import Ledger, post, send

from loratory.experiment.environment import describe_environment

HERE = Path(__file__).parent
RESULT = HERE / "results" / "serving.json"
RATES = (80, 160, 260, 360, 480, 640, 850, 1100)
LOW, CALM = 8.0, 120  # requests a second, and how many, at low load
FIVE = 5


@dataclass(frozen=True)
class Rival:
    """A way to serve: its command line, and how a text is asked of it."""

    name: str
    command: Sequence[str]
    ask: Callable[[str, int, int], bytes]  # text, number, port
    label: Callable[[Mapping[str, Any]], str | None]


@contextlib.contextmanager
def running(rival: Rival) -> Iterator[tuple[int, int]]:
    """Its port and process id, once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [part.replace("PORT", str(port)) for part in rival.command]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env={**os.environ, "TOKENIZERS_PARALLELISM": "false"}, **quiet)  # type: ignore[call-overload]
    try:
        for _ in range(1500):  # five int8 graphs take a minute to make
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json") as found:
                found.read()
                break
            if process.poll() is not None:
                raise SystemExit(f"{rival.name} ended: {' '.join(command)}")
            time.sleep(0.2)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def calls(rival: Rival, texts: Sequence[str], count: int, port: int) -> list[bytes]:
    """So many requests, the texts in turn."""
    return [rival.ask(texts[number % len(texts)], number, port) for number in range(count)]


def ramp(rival: Rival, texts: Sequence[str], port: int, seconds: float) -> dict[str, Any]:
    """Answers a second at each offered rate, until more is offered in vain."""
    send(port, calls(rival, texts, 64, port), 40)
    steps, best = [], 0.0
    for rate in RATES:
        made = send(port, calls(rival, texts, int(rate * seconds), port), rate, patience=20)
        done = made.good / max(made.ended, seconds)
        steps.append({"offered": rate, "answered": round(done, 1), "p99_ms": round(made.quantile(0.99), 1)})
        best = max(best, done)
        if done < 0.7 * rate:
            break
    return {"best": best, "steps": steps}


def calm(rival: Rival, texts: Sequence[str], port: int) -> Ledger:
    """Single requests at low load."""
    send(port, calls(rival, texts, 24, port), LOW)
    return send(port, calls(rival, texts, CALM, port), LOW)


def accuracy(rival: Rival, rows: Sequence[tuple[str, str]], port: int, rate: float) -> tuple[float, list[str | None]]:
    """Of all test texts, asked at a rate that it can hold."""
    requests = [rival.ask(text, 0, port) for text, _ in rows]
    made = send(port, requests, rate)
    said = [rival.label(json.loads(body)) if body else None for body in made.bodies]
    return sum(a == label for a, (_, label) in zip(said, rows, strict=True)) / len(rows), said


def ours(name: str, folders: Mapping[str, Path], *options: str) -> Rival:
    """Our server with these tasks; request n asks task n modulo their number."""
    tasks = list(folders)

    def ask(text: str, number: int, port: int) -> bytes:
        body = json.dumps({"inputs": [text], "probabilities": False}).encode()
        return post(f"/v1/tasks/{tasks[number % len(tasks)]}/predict", body, port)

    named = [f"{task}={folder}" for task, folder in folders.items()]
    command = [sys.executable, "-m", "loratory", "serve", *named, "--port", "PORT", *options]
    return Rival(name, command, ask, lambda body: (body["predictions"][0]["answer"] or {}).get("label"))


def rivals(merged: Path, quantised: Path, tasks: int) -> tuple[Rival, Rival]:
    """The pipeline with one task, and int8 sessions for so many."""
    script = str(HERE / "rivals.py")

    def ask(path: str) -> Callable[[str, int, int], bytes]:
        def one(text: str, number: int, port: int) -> bytes:
            return post(path.replace("N", str(number % tasks)), json.dumps({"text": text}).encode(), port)

        return one

    pipeline = Rival(
        "pipeline", [sys.executable, script, "pipeline", "PORT", str(merged)], ask("/predict/"), lambda b: b["label"]
    )
    onnx = Rival(
        f"onnx int8, {tasks} task{'s' * (tasks > 1)}",
        [sys.executable, script, "onnx", "PORT", *[str(quantised)] * tasks],
        ask("/tasks/N/predict"),
        lambda b: b["label"],
    )
    return pipeline, onnx


def sessions(run: Path, fit: Path, texts: Sequence[str], seconds: float, rounds: int) -> dict[str, Any]:
    """Five tasks: ours, int8 sessions as they come, and with threads that do not spin. Texts a second, in turns."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        merged, quantised = export_rivals(run, Path(folder))
        _, spinning = rivals(merged, quantised, FIVE)
        quiet = ["onnx-calm" if part == "onnx" else part for part in spinning.command]
        calm = replace(spinning, name="onnx int8, threads that do not spin", command=quiet)
        mine = ours("ours", copies(fit, FIVE, Path(folder) / "tasks"), "--set", "precision=bf16")
        for _ in range(rounds):
            for rival in (mine, spinning, calm):
                with running(rival) as (port, _):
                    found.setdefault(rival.name, []).append(round(ramp(rival, texts, port, seconds)["best"], 1))
                print(rival.name, found[rival.name], flush=True)
    return found


def copies(fit: Path, count: int, output: Path, top: int | None = None) -> dict[str, Path]:
    """Artifacts with the fit's adapter and noise; with `top`, of its last layers alone."""
    import torch

    from loratory.artifacts.manifests import stage_artifact
    from loratory.backbones import adapters
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.predictors import predictor_files
    from loratory.protocols import Network

    predictor: Any = predictor_files.load_uncalibrated(fit, TorchBackbonePool())
    network, made = predictor.network, {}
    for number in range(count):
        draw = torch.Generator().manual_seed(number)
        tensors = {n: t + 0.01 * torch.randn(t.shape, generator=draw) for n, t in network.adapter.tensors.items()}
        config = dict(network.adapter.config)
        if top:
            last = range(network.backbone.depth - top, network.backbone.depth)
            tensors = {n: t for n, t in tensors.items() if any(f".layer.{k}." in n for k in last)}
            config |= {"layers_to_transform": list(last), "layers_pattern": "layer"}
        own = replace(
            predictor, network=Network(network.backbone, adapters.create_adapter(config, tensors), network.head)
        )
        name = f"{'top' if top else 'task'}-{number}"
        with stage_artifact(output / name, {"kind": "fit"}) as part:
            predictor_files.save_predictor(part, own)
        made[name] = output / name
    return made


def zipf(count: int, length: int) -> list[int]:
    """Which task each request asks, by Zipf's law with exponent 1."""
    draw = random.Random(0)
    return draw.choices(range(count), [1 / (k + 1) for k in range(count)], k=length)


def _in_order(rival: Rival, order: Sequence[int]) -> Callable[[str, int, int], bytes]:
    return lambda text, number, port: rival.ask(text, order[number], port)


def resident(pid: int) -> float:
    """MiB of memory that the process holds."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1024


def many(fit: Path, counts: Sequence[int], texts: Sequence[str], seconds: float, rounds: int) -> dict[str, Any]:
    """Throughput and memory by number of adapters, uniform and Zipf."""
    with tempfile.TemporaryDirectory() as folder:
        made = copies(fit, max(counts), Path(folder))
        bytes_each = sum(f.stat().st_size for f in (made["task-0"] / "adapter").glob("*.safetensors")) / 2**20
        found: dict[str, Any] = {str(n): {"uniform": [], "zipf": [], "memory_mib": []} for n in counts}
        for _ in range(rounds):
            for count in counts:
                rival = ours(str(count), dict(list(made.items())[:count]), "--set", "precision=bf16")
                order = zipf(count, 100_000)
                skewed = replace(rival, ask=_in_order(rival, order))
                with running(rival) as (port, pid):
                    found[str(count)]["uniform"].append(ramp(rival, texts, port, seconds)["best"])
                    found[str(count)]["zipf"].append(ramp(skewed, texts, port, seconds)["best"])
                    found[str(count)]["memory_mib"].append(resident(pid))
                print(count, found[str(count)], flush=True)
    means = {n: {key: round(mean(values), 1) for key, values in each.items()} for n, each in found.items()}
    least, most = (means[str(count)]["memory_mib"] for count in (min(counts), max(counts)))
    expected = least + (max(counts) - min(counts)) * bytes_each
    return {
        "adapter_mib": round(bytes_each, 2),
        "memory_over_base_and_adapters": round(most / expected, 3),
        "by_adapters": means,
    }


def five(fit: Path, texts: Sequence[str], seconds: float) -> dict[str, Any]:
    """Five tasks on each text in one call against one, by texts a second."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for depth, top in (("top_2", 2), ("full_depth", None)):
            made = copies(fit, FIVE, Path(folder), top)
            base = ours(depth, made, "--set", "precision=bf16")

            def make_requester(tasks: Sequence[str]) -> Callable[[str, int, int], bytes]:
                def ask(text: str, number: int, port: int) -> bytes:
                    body = {"tasks": list(tasks), "inputs": [text], "probabilities": False}
                    return post("/v1/predict", json.dumps(body).encode(), port)

                return ask

            with running(base) as (port, _):
                rates = [
                    ramp(replace(base, ask=make_requester(list(made)[:n])), texts, port, seconds)["best"]
                    for n in (1, FIVE) * 2
                ]
            one, several = mean(rates[::2]), mean(rates[1::2])
            out[depth] = {"one": round(one, 1), "five": round(several, 1), "five_over_one": round(one / several, 3)}
            print(depth, out[depth], flush=True)
    return out


def parts(rival: Rival, texts: Sequence[str], port: int, fit: Path) -> dict[str, float]:
    """Where the time of a single request goes, in milliseconds (medians)."""
    from loratory.backbones.forward.execution import run_locally
    from loratory.backbones.pool import TorchBackbonePool
    from loratory.predictors import predictor_files

    live = f"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    bare = send(port, [live] * CALM, LOW).quantile(0.5)
    pool = TorchBackbonePool(keep=False)
    predictor: Any = predictor_files.load_predictor(fit, pool)
    pool.set_precision("bf16")
    inner: Any = getattr(predictor, "predictor", predictor)
    spent: dict[str, list[float]] = {"ask": [], "pass": [], "read": []}
    for text in texts[:CALM]:
        began = time.perf_counter()
        asked = inner.plan([{"text": text}])
        made = time.perf_counter()
        outputs = run_locally(asked.requests)
        passed = time.perf_counter()
        asked.read_outputs(outputs)
        for name, seconds in (("ask", made - began), ("pass", passed - made), ("read", time.perf_counter() - passed)):
            spent[name].append(seconds * 1000)
    return {"http_ms": round(bare, 2), **{f"{name}_ms": round(median(each), 3) for name, each in spent.items()}}


def compare_servers(
    run: Path, fit: Path, rows: Sequence[tuple[str, str]], seconds: float, rounds: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """All servers in turn, and the parts of a request of ours."""
    texts = [text for text, _ in rows]
    with tempfile.TemporaryDirectory() as folder:
        merged, quantised = export_rivals(run, Path(folder))
        pipeline, onnx = rivals(merged, quantised, 1)
        _, several = rivals(merged, quantised, FIVE)
        tasks = copies(fit, FIVE, Path(folder) / "tasks")
        mine = ours("ours", {"task": run})
        ours_five = ours("ours, 5 tasks", tasks, "--set", "precision=bf16")
        eight = ours("ours, int8", {"task": run}, "--set", "precision=int8")
        eight_five = ours("ours, int8, 5 tasks", tasks, "--set", "precision=int8")
        order = [mine, eight, pipeline, onnx, ours_five, eight_five, several]
        whole = (mine, eight, pipeline, onnx)  # that answer with the fit itself
        found: dict[str, Any] = {rival.name: {"rounds": []} for rival in order}
        spent: dict[str, float] = {}
        for number in range(rounds):
            for rival in order:
                with running(rival) as (port, _):
                    own = found[rival.name]
                    own["rounds"].append(ramp(rival, texts, port, seconds))
                    if not number:
                        quiet = calm(rival, texts, port)
                        own |= {f"p{q}_ms": round(quiet.quantile(q / 100), 2) for q in (50, 95)}
                    if not number and rival in whole:
                        own["accuracy"], own["said"] = accuracy(rival, rows, port, 0.5 * own["rounds"][0]["best"])
                    if rival is mine and not number:
                        spent = parts(rival, texts, port, fit)
                shown = {key: value for key, value in own.items() if key not in ("said", "rounds")}
                print(rival.name, round(own["rounds"][-1]["best"], 1), shown, flush=True)
    for own in found.values():
        own["texts_per_second"] = round(mean(one["best"] for one in own["rounds"]), 1)
    return found, spent


def export_rivals(run: Path, folder: Path) -> tuple[Path, Path]:
    """The merged classifier as stock transformers opens it, and as an int8 graph."""
    from rivals import quantise  # needs fastapi, which Loratory does not

    subprocess.run(
        [sys.executable, "-m", "loratory", "export", str(run), "--to", "peft", "--output", str(folder / "stock")],
        check=True,
        capture_output=True,
    )
    merged = folder / "stock" / "merged"
    return merged, quantise(merged, folder / "int8")


def rows_of(file: Path) -> list[tuple[str, str]]:
    """Texts and labels of a CSV whose columns are called as in banking77."""
    import csv

    with file.open(encoding="utf-8", newline="") as handle:
        found = list(csv.DictReader(handle))
    label = next(name for name in ("label", "category", "label_text") if name in found[0])
    return [(row["text"], row[label]) for row in found]


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--adapters", default="1,8,32,128")
    parser.add_argument("--seconds", type=float, default=4.0, help="at each offered rate")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--sessions", action="store_true", help="five tasks alone, added to a result that is there")
    parser.add_argument("--output", type=Path, default=RESULT)
    asked = parser.parse_args()
    from loratory.experiment.artifact_lookup import find_fit_folder

    rows, fit = rows_of(asked.test), find_fit_folder(asked.run)
    texts, seconds = [text for text, _ in rows], asked.seconds
    if asked.sessions:
        known = json.loads(asked.output.read_text(encoding="utf-8"))
        known["five_tasks_by_sessions"] = sessions(asked.run, fit, texts, seconds, asked.rounds)
        asked.output.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    found, spent = compare_servers(asked.run, fit, rows, seconds, asked.rounds)
    adapters = many(fit, [int(n) for n in asked.adapters.split(",")], texts, seconds, 1)
    tasks = five(fit, texts, seconds)
    mine, eight, pipeline, onnx = (found[n] for n in ("ours", "ours, int8", "pipeline", "onnx int8, 1 task"))
    same = mean(a == b for a, b in zip(mine["said"], pipeline["said"], strict=True))
    by = adapters["by_adapters"]
    share = round(by["32"]["uniform"] / by["1"]["uniform"], 3) if {"1", "32"} <= by.keys() else None
    result = {
        "machine": describe_environment("cpu"),
        "ratio_to_pipeline": round(mine["texts_per_second"] / pipeline["texts_per_second"], 2),
        "ratio_to_onnx_int8": round(mine["texts_per_second"] / onnx["texts_per_second"], 2),
        "ratio_to_onnx_int8_five_tasks": round(
            found["ours, 5 tasks"]["texts_per_second"] / found["onnx int8, 5 tasks"]["texts_per_second"], 2
        ),
        "int8_ratio_to_pipeline": round(eight["texts_per_second"] / pipeline["texts_per_second"], 2),
        "int8_ratio_to_onnx_int8": round(eight["texts_per_second"] / onnx["texts_per_second"], 2),
        "int8_accuracy_difference": round(eight["accuracy"] - pipeline["accuracy"], 5),
        "accuracy_difference": round(mine["accuracy"] - pipeline["accuracy"], 5),
        "same_labels_as_pipeline": round(same, 5),
        "p50_ms": mine["p50_ms"],
        "parts_of_one_request": spent,
        "share_at_32_adapters": share,
        "five_tasks_over_one": tasks["top_2"]["five_over_one"],
        "servers": {name: {k: v for k, v in own.items() if k != "said"} for name, own in found.items()},
        "adapters": adapters,
        "five_tasks": tasks,
    }
    asked.output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(asked.output)


if __name__ == "__main__":
    main()
