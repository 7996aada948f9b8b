"""A tiny base, written examples, and ways to run the command line: in this process, and in one that can be killed."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from loratory.protocols.events import Event

TOPICS: Mapping[str, tuple[str, ...]] = {
    "FRAUD": ("somebody used my card", "my card was stolen", "there is fraud on my account", "a stranger took money"),
    "RESET": ("i forgot my password", "cannot login to my account", "please reset the login", "my account is locked"),
    "SHOP": ("the shop charged twice", "i want a refund", "the price is wrong", "wrong item in my order"),
}
TAILS = (
    "please help",
    "what can i do",
    "today",
    "again",
    "since monday",
    "urgent",
    "who can help",
    "thanks",
    "really",
    "now",
)
LADDER = """\
  - rules
  - tfidf
  - zero-shot
  - prototype
  - head
  - lora
  - lora-stock: {regime: lora, head: stock}
  - full
"""
SPEC = """\
name: tiny
data: {path: data.csv, near_duplicates: 1}
base: base
ladder:
LADDER
lora: {rank: 4, alpha: 8}
training: {epochs: 2, threads: 1}
evidence: {resamples: 200, latency_texts: 5}
"""


def make_rows() -> list[tuple[str, str]]:
    """120 texts with their labels."""
    made = []
    for label, subjects in TOPICS.items():
        for i in range(40):
            word = random.Random(i).choice(("hello", "soon", "ok", "well"))
            made.append((f"{subjects[i % 4]} {TAILS[i // 4]} {word} {i}", label))
    return made


def to_csv(examples: list[tuple[str, str]]) -> str:
    return "text,label\n" + "".join(f"{text},{label}\n" for text, label in examples)


def make_spec(ladder: str = LADDER, **more: str) -> str:
    """The spec's text with another ladder; `more` are whole lines that come last."""
    return SPEC.replace("LADDER\n", ladder) + "".join(f"{key}: {value}\n" for key, value in more.items())


FULL_SPEC = make_spec()


def write_base(folder: Path) -> None:
    """A 2-layer, 32-wide BERT with random weights and a tokenizer of whole words."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    known = sorted({word for text, _ in make_rows() for word in text.split()})
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *known])}
    tokenizer: Any = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, model_max_length=64, **names).save_pretrained(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        config: Any = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)  # type: ignore[arg-type]
        BertModel(config).save_pretrained(folder)


def make_workspace(folder: Path, base: Path, spec: str) -> Path:
    """A workspace: examples, a link to the base, and the spec."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "data.csv").write_text(to_csv(make_rows()), encoding="utf-8")
    (folder / "base").symlink_to(base)
    (folder / "spec.yaml").write_text(spec, encoding="utf-8")
    return folder


@dataclass
class RecordingListener:
    """A listener that remembers."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def values_of(self, kind: type[Any], key: str = "contender") -> list[Any]:
        return [getattr(event, key) for event in self.events if isinstance(event, kind)]


@dataclass(frozen=True)
class CommandResult:
    """How a command ended."""

    code: int
    out: str
    err: str

    def read_stderr(self) -> str:
        """What a person reads; never a traceback."""
        assert "Traceback" not in self.err, self.err
        return self.err


def run_command(
    folder: Path, *words: str | Path, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> CommandResult:
    """The command line in this process, with `folder` as the working directory."""
    from loratory.cli import main

    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    before = Path.cwd()
    patches: Any = {"argv": ["loratory", *map(str, words)], "stdout": out, "stderr": err}
    patches["stdin"] = io.TextIOWrapper(io.BytesIO(stdin))
    os.chdir(folder)
    try:
        with mock.patch.multiple(sys, **patches), mock.patch.dict(os.environ, environment or {}):
            main()
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else 1
    finally:
        os.chdir(before)
    return CommandResult(code, *(_read_stream(stream) for stream in (out, err)))


def _read_stream(stream: io.TextIOWrapper) -> str:
    stream.flush()
    held = stream.buffer
    assert isinstance(held, io.BytesIO)
    return held.getvalue().decode()


class ProcessPool:
    """A process that has everything imported and forks a child for each command: quick, and safe to kill."""

    def __init__(self) -> None:
        here = Path(__file__)
        self.process = subprocess.Popen(
            [sys.executable, str(here.with_name("process_fixtures.py"))], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._read()

    def _read(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def start(self, folder: Path, *words: str | Path) -> int:
        """Start a command; returns its process id."""
        own = {name: value for name, value in os.environ.items() if name.startswith("LORATORY_")}  # of this test
        self._write({"folder": str(folder), "words": [str(word) for word in words], "environment": own})
        return int(self._read()["pid"])

    def _write(self, value: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(value).encode() + b"\n")
        self.process.stdin.flush()

    def wait(self) -> CommandResult:
        """Wait for the command; a signal that killed it is a negative code. Its id is valid until here."""
        self._write("end")
        ended = self._read()
        return CommandResult(ended["code"], ended["out"], ended["err"])

    def run(self, folder: Path, *words: str | Path) -> CommandResult:
        self.start(folder, *words)
        return self.wait()


@contextmanager
def process_pool() -> Iterator[ProcessPool]:
    made = ProcessPool()
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 240.0) -> None:
    """Wait for something to be so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.002)


def read_weights(folder: Path) -> dict[str, bytes]:
    """Every weight file below a folder."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*.safetensors"))
        if "/." not in f"/{file.relative_to(folder).as_posix()}"
    }
