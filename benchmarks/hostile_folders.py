"""Folders of models as a stranger could write them: a good one with one thing changed, from a seed."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

Change = Callable[[Path], object]
ODD: Sequence[Any] = (
    *(None, True, False, 0, -1, 1, 3, 10**6, 10**9, 2**31, 2**63, 10**30, 10**400, 0.5, -0.5, 1e308, 1e-30),
    *("", "x", "\ud800", "\x00", "../../../etc/passwd", "x" * 100_000, "32", "torch.load", "{{ 7 * 7 }}"),
    *([], {}, [[]], {"x": {}}, [1, 2, 3], list(range(1000)), [None] * 3, {"0": "a"}, {"0": {"1": "b"}}),
)
CONSTANTS = ("NaN", "Infinity", "-Infinity", "1e999", "9" * 5000)
DEEP = 100_000
SENSITIVE = ("hidden_size", "num_hidden_layers", "vocab_size", "intermediate_size", "num_attention_heads")
ADDED: Sequence[tuple[str, Any]] = (
    *(("auto_map", {"AutoModel": "evil.Evil"}), ("quantization_config", {"quant_method": "gptq", "bits": 4})),
    *(("_attn_implementation", "evil/kernel"), ("num_labels", 10**6), ("num_labels", -3), ("tie_word_embeddings", 3)),
    *(
        ("problem_type", "regression"),
        ("torch_dtype", "int4"),
        ("dtype", "evil"),
        ("to_dict", 3),
        ("base_model_tp_plan", 3),
    ),
    *(
        ("chunk_size_feed_forward", 10**9),
        ("pruned_heads", {"0": [0, 1]}),
        ("is_decoder", True),
        ("layer_types", ["x"]),
    ),
    *(("rope_scaling", {"type": "x", "factor": -1}), ("text_config", {"num_hidden_layers": 10**6}), ("text_config", 3)),
    *(("add_cross_attention", True), ("hidden_act", "evil"), ("position_embedding_type", "x"), ("torchscript", "x")),
)


def folders(seed: int, count: int) -> Iterator[tuple[str, Change]]:
    """`count` changes of a good folder (config, tokenizer, weights, labels), each with a name; the same for a seed."""
    known = [*_specials(), *_weights(), *((f"added {key}={str(value)[:20]}", _add(key, value)) for key, value in ADDED)]
    draw = random.Random(seed)
    draw.shuffle(known)
    yield from known[:count]
    for number in range(count - len(known)):
        yield _drawn(draw, number)


def _drawn(draw: random.Random, number: int) -> tuple[str, Change]:
    file = draw.choice(("config.json", "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"))
    if file == "model.safetensors":
        seed = draw.random()
        return f"{number} header changed", lambda folder: _scramble(folder / file, random.Random(seed))
    place, value = draw.random(), draw.choice((*ODD, *map(_Raw, CONSTANTS)))
    return f"{number} {file} {str(value)[:20]!r}", lambda folder: _set(folder / file, place, value)


class _Raw(str):
    """A number that json.dumps would not write so."""


def _set(file: Path, place: float, value: Any) -> None:
    """Put an odd value at a place of a JSON file, chosen by a number from 0 to 1."""
    whole = json.loads(file.read_text(encoding="utf-8"))
    places = list(_places(whole))
    holder, key = places[int(place * len(places))]
    holder[key] = "RAW" if isinstance(value, _Raw) else value
    text = json.dumps(whole)
    file.write_text(text.replace('"RAW"', str(value)) if isinstance(value, _Raw) else text, encoding="utf-8")


def _places(value: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Every place of a JSON value; of large tables only the first ones."""
    keys: list[Any] = list(value) if isinstance(value, dict) else list(range(len(value)))
    for key in keys[:40]:
        yield value, key
        if isinstance(value[key], (dict, list)) and depth < 5:
            yield from _places(value[key], depth + 1)


def _add(key: str, value: Any) -> Change:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        (folder / "config.json").write_text(json.dumps({**config, key: value}), encoding="utf-8")

    return change


def _put(name: str, content: str | bytes) -> Change:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    return lambda folder: (folder / name).write_bytes(data)


def _replace(name: str, make: Callable[[Path], object]) -> Change:
    """Put something else in the place of a file."""

    def change(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        make(folder / name)

    return change


def _huge(file: Path) -> None:
    with file.open("wb") as handle:
        handle.truncate(2**40)  # a sparse file: nothing is on the disk


def _pipe_inside(folder: Path) -> None:
    (folder / "1_Pooling").mkdir()
    os.mkfifo(folder / "1_Pooling" / "config.json")


def _specials() -> list[tuple[str, Change]]:
    found: list[tuple[str, Change]] = []
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "labels.json"):
        things: dict[str, Callable[[Path], object]] = {
            "a pipe": os.mkfifo,
            "a folder": Path.mkdir,
            "a link to nowhere": lambda file: file.symlink_to("nowhere"),
            "a link to itself": lambda file: file.symlink_to(file.name),
            "a device": lambda file: file.symlink_to("/dev/zero"),
            "nothing in it": lambda file: file.touch(),
            "a terabyte": _huge,
        }
        found += [(f"{name}: {what}", _replace(name, make)) for what, make in things.items()]
        if name != "model.safetensors":
            texts: dict[str, str | bytes] = {
                "deep lists": "[" * DEEP,
                "deep objects": '{"a":' * DEEP,
                "deep and closed": '{"a":' + "[" * 900 + "]" * 900 + "}",
                "a list": "[]",
                "null": "null",
                "text": '"x"',
                "no JSON": "<html>",
                "no UTF-8": b"\xff\xfe{\x00}\x00",
                "NUL": '{"a": "\x00"}',
                "many values": "[" + "{}," * 3_000_000 + "{}]",
            }
            found += [(f"{name}: {what}", _put(name, text)) for what, text in texts.items()]
    found += [(f"no {name}", _replace(name, lambda file: None)) for name in ("config.json", "tokenizer.json")]
    found += [("a pipe beside", lambda folder: os.mkfifo(folder / "added.safetensors"))]
    found += [("a pipe as pooling", _pipe_inside)]
    index = {"weight_map": {"a": "../../x.safetensors"}}
    found += [("an index that leads out", _put("model.safetensors.index.json", json.dumps(index)))]
    found += [("labels: 300,000", _put("labels.json", json.dumps([str(n) for n in range(300_000)])))]
    found += [("labels: a number", _put("labels.json", "3")), ("labels: lists", _put("labels.json", "[[1],[2],[3]]"))]
    found += [(f"config: {key}={value}", _add(key, value)) for key in SENSITIVE for value in (10**6, 0, -1, "32", 2.5)]
    return [*found, *_adapters()]


def _adapters() -> list[tuple[str, Change]]:
    """An adapter in the folder whose base is that folder's copy, with odd values."""
    odd: dict[str, Any] = {
        "r": 10**9,
        "lora_alpha": 1e999,
        "target_modules": ".*(a+)+$",
        "peft_type": [],
        "alpha_pattern": {"a": 1},
    }
    odd |= {
        "modules_to_save": {"a": 1},
        "base_model_name_or_path": ["x"],
        "layers_to_transform": [10**9],
        "task_type": {},
    }
    more = [
        ("r", True),
        ("r", -4),
        ("lora_alpha", "16"),
        ("auto_mapping", {"parent_library": "os"}),
        ("target_modules", [[]]),
    ]

    def change_of(key: str, value: Any) -> Change:
        def change(folder: Path) -> None:
            shutil.copytree(folder, folder / "base_0")
            good = {"peft_type": "LORA", "task_type": "SEQ_CLS", "r": 2, "lora_alpha": 4, "target_modules": ["query"]}
            (folder / "adapter").mkdir()
            (folder / "adapter" / "adapter_config.json").write_text(json.dumps({**good, key: value}), encoding="utf-8")
            names = [f"base_model.model.bert.encoder.layer.0.attention.self.query.lora_{x}.weight" for x in "AB"]
            tensors = {name: shape for name, shape in zip(names, ([2, 32], [32, 2]), strict=True)}
            write_tensors(folder / "adapter" / "adapter_model.safetensors", tensors)

        return change

    return [(f"adapter: {key}={str(value)[:20]}", change_of(key, value)) for key, value in [*odd.items(), *more]]


def write_tensors(file: Path, shapes: dict[str, list[int]]) -> None:
    """A safetensors file of zeros."""
    header: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        size = 4
        for one in shape:
            size *= one
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(at))


# ---- weights
def _parts(file: Path) -> tuple[dict[str, Any], bytes]:
    data = file.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def _join(file: Path, header: Any, body: bytes, length: int | None = None) -> None:
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    file.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + body)


def _scramble(file: Path, draw: random.Random) -> None:
    """Change one fact of one tensor, or some bytes."""
    header, body = _parts(file)
    name = draw.choice([name for name in header if name != "__metadata__"])
    kind = draw.randrange(6)
    if kind == 0:
        header[name]["shape"] = draw.choice(ODD[:30])
    elif kind == 1:
        header[name]["dtype"] = draw.choice(("F64", "F16", "I64", "BOOL", "X", 3, None, []))
    elif kind == 2:
        header[name]["data_offsets"] = draw.choice(([0, 0], [0, 2**62], [-1, 3], [4, 0], "x", None, [0, 128]))
    elif kind == 3:
        header[draw.choice(("x", "\ud800", "x" * 100_000, ""))] = header.pop(name)
    elif kind == 4:
        header[name]["shape"] = [*header[name]["shape"], 1]
    else:
        at = draw.randrange(len(body) - 8)
        body = body[:at] + draw.choice((b"\xff" * 8, bytes(8), b"\x7f\xc0\0\0" * 2)) + body[at + 8 :]
    _join(file, header, body)


def _weights() -> list[tuple[str, Change]]:
    def on(change: Callable[[Path], object]) -> Change:
        return lambda folder: change(folder / "model.safetensors")

    def numbers(value: float) -> Change:
        def change(folder: Path) -> None:
            header, body = _parts(folder / "model.safetensors")
            _join(folder / "model.safetensors", header, struct.pack("<f", value) * (len(body) // 4))

        return change

    def rename(folder: Path) -> None:
        header, body = _parts(folder / "model.safetensors")
        _join(folder / "model.safetensors", {f"x.{name}": said for name, said in header.items()}, body)

    def begin(length: int) -> Change:
        return on(lambda file: file.write_bytes(struct.pack("<Q", length) + file.read_bytes()[8:]))

    def cut(length: int) -> Change:
        return on(lambda file: file.write_bytes(file.read_bytes()[:length]))

    return [
        *((f"a header of {length}", begin(length)) for length in (0, 1, 2**20, 2**40, 2**63, 2**64 - 1)),
        *((f"cut at {length}", cut(length)) for length in (0, 4, 8, 9, 100, 5000, -1, -4)),
        ("bytes behind", on(lambda f: f.write_bytes(f.read_bytes() + b"x"))),
        ("a header of brackets", on(lambda f: f.write_bytes(struct.pack("<Q", DEEP) + b"[" * DEEP))),
        ("a pickle", on(lambda f: f.write_bytes(b"\x80\x04cos\nsystem\n(S'x'\ntR."))),
        *((f"weights of {value}", numbers(value)) for value in (float("nan"), float("inf"), -float("inf"), 3e38, 0.0)),
        ("other names", rename),
    ]
