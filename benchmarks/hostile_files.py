"""Files of data and specs as a stranger could write them: bombs, depth, lying headers, odd encodings, from a seed."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Make = Callable[[Path], object]  # writes what its name says into a folder
WORDS = ("card", "letter", "house", "garden", "bicycle", "boat", "dog", "lamp", "chair", "window", "tree", "river")
PAIRS = [(f"{verb} the {word}", label) for word in WORDS for verb, label in (("lost", "A"), ("bought", "B"))]
CSV = "text,label\n" + "".join(f"{text},{label}\n" for text, label in PAIRS)
JSONL = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in PAIRS)
TAGGED = "".join(f"{text.split()[0]}\tO\n{text.split()[2]}\tB-{label}\n\n" for text, label in PAIRS)
DEEP = 100_000
SPEC = "name: x\ndata: {{path: {path}}}\nladder: [majority, rules]\n"
VALUES: Sequence[Any] = (
    *(None, True, -1, 10**18, 10**400, 1e308, 0.5, "", " ", "\x00", "\ud800", "\ufeff", "\u202e", "x" * 100_000),
    *([], {}, [[]], [{}], {"a": [1, {"b": None}]}, ["a", 1], {"text": "a"}, [["a", "b"]], "a\nb", "=cmd|' /C calc'!A0"),
)


def data_files(seed: int, count: int) -> list[tuple[str, str, Make]]:
    """`count` hostile data files: what it is, the path that a spec names, and who writes it. The same for a seed."""
    draw = random.Random(seed)
    known = [*_texts(), *_make_packed_files(), *_tables(), *_workbooks(), *_entries()]
    draw.shuffle(known)
    return [*known[:count], *(_drawn(draw, number) for number in range(count - len(known)))]


def _file(name: str, content: str | bytes | Callable[[], str | bytes]) -> tuple[str, Make]:
    """A file and who writes it; what is large is made only then, so that this process stays small."""
    import pyarrow

    def make(folder: Path) -> None:
        made = content() if callable(content) else content
        (folder / name).write_bytes(made if isinstance(made, bytes) else made.encode("utf-8", "surrogatepass"))
        del made
        pyarrow.default_memory_pool().release_unused()

    return name, make


def _drawn(draw: random.Random, number: int) -> tuple[str, str, Make]:
    """A good file with a few bytes changed, or rows with odd values."""
    kind = draw.randrange(4)
    if kind == 0:
        rows = [{"text": t, "label": k} for t, k in PAIRS]
        for _ in range(draw.randrange(1, 8)):
            draw.choice(rows)[draw.choice(("text", "label", "spans", "tokens", "tags", "id"))] = draw.choice(VALUES)
        text = "\n".join(json.dumps(row) for row in rows) if draw.random() < 0.5 else json.dumps(rows)
        return f"{number} odd rows", *_file(f"d{number}.{draw.choice(('json', 'jsonl'))}", text)
    name, text = draw.choice((("csv", CSV), ("jsonl", JSONL), ("conll", TAGGED), ("tsv", CSV.replace(",", "\t"))))
    data = bytearray(text.encode())
    for _ in range(draw.randrange(1, 20)):
        at = draw.randrange(len(data))
        data[at : at + draw.randrange(3)] = draw.choice(
            (b"", b'"', b"\n", b"\0", b"\xff", b"\t", b",", b"{", b"\\", b"\r")
        )
    return f"{number} bytes of a {name}", *_file(f"d{number}.{name}", bytes(data))


def _texts() -> list[tuple[str, str, Make]]:
    lists, objects = "[" * DEEP, '{"a":' * DEEP
    spread = json.dumps({"columns": ["text"], "data": [["a"]] * 5, "index": [0]})
    long = {
        "a line of 30 MB": ("d.csv", lambda: CSV + "x" * 30_000_000 + ",A\n"),
        "quotes that never close": ("d.csv", lambda: CSV + '"' + "x,\n" * 500_000),
        "a header of 200,000 columns": ("d.csv", lambda: ",".join(f"c{n}" for n in range(200_000)) + "\n" + CSV),
        "only separators": ("d.csv", lambda: "," * 5_000_000 + "\n" + CSV),
        "seven million lines": ("d.txt", lambda: "a\n" * 7_000_000),
        "empty lines": ("d.csv", lambda: CSV + "\n" * 10_000_000),
        "three million rows": ("d.csv", lambda: "text,label\n" + "a,b\n" * 3_000_000),
        "three million objects": ("d.jsonl", lambda: "{}\n" * 3_000_000),
        "many empty lists": ("d.json", lambda: "[" + "[]," * 8_000_000 + "[]]"),
        "many values in a row": ("d.json", lambda: '[{"text": "a", "label": [' + "0," * 8_000_000 + "0]}]"),
        "one word on each line": ("d.conll", lambda: "a O\n" * 6_500_000),
        "one text of a million words": ("d.conll", lambda: "a\tO\n" * 1_000_000 + "\n" + TAGGED),
    }
    deep = {
        "deep lists": ("d.json", lists),
        "deep objects": ("d.jsonl", objects),
        "deep and closed": ("d.json", "[" + '{"text":' + "[" * DEEP + "]" * DEEP + "}]"),
        "deep below the limit": ("d.jsonl", (JSONL + '{"text": ' + "[" * 700 + "]" * 700 + ', "label": "A"}\n')),
        "deep without a suffix": ("d", lists),
        "deep keys": ("d.json", '{"data":' * 400 + "[]" + "}" * 400),
    }
    numbers = {
        "a number of 5,000 digits": ("d.jsonl", '{"text": "a", "label": ' + "9" * 5000 + "}\n" + JSONL),
        "a number of 4,000 digits": ("d.jsonl", '{"text": "a", "label": ' + "9" * 4000 + "}\n" + JSONL),
        "1e999": ("d.jsonl", '{"text": "a", "label": 1e999}\n' + JSONL),
        "NaN": ("d.jsonl", '{"text": "a", "label": NaN}\n' + JSONL),
        "lone surrogates": ("d.jsonl", '{"text": "\\ud800", "label": "A"}\n' + JSONL),
        "a raw surrogate": ("d.jsonl", '{"text": "\ud800", "label": "A"}\n' + JSONL),
        "NUL in JSON": ("d.json", '[{"text": "a\x00", "label": "A"}]'),
        "NUL in CSV": ("d.csv", CSV + "a\x00b,A\n"),
        "only NUL": ("d.csv", b"\0" * 1000),
        "split of pandas": ("d.json", spread),
        "keys twice": ("d.jsonl", '{"text": "a", "text": 3, "label": "A", "label": []}\n' * 12),
        "a list for each column": ("d.json", json.dumps({"text": ["a"] * 5, "label": [[]] * 5})),
        "parts of odd things": ("d.json", json.dumps({"train": [{}], "test": [[1]], "validation": [3]})),
        "strings in a list": ("d.json", json.dumps(["a", "b"])),
        "a number": ("d.json", "3"),
        "a word": ("d.jsonl", "x\n"),
    }
    encoded = {
        f"{name} of {kind}": (f"d.{kind}", text.encode(name))
        for name in ("utf-16", "utf-32", "utf-16-le", "utf-32-be", "utf-8-sig", "utf-7", "cp037")
        for kind, text in (("csv", CSV), ("json", JSONL))
    }
    marks = {
        "three marks of byte order": ("d.csv", "\ufeff\ufeff\ufeff" + CSV),
        "half of UTF-16": ("d.csv", b"\xff\xfe" + CSV.encode("utf-16-le")[:-1]),
        "no UTF-8": ("d.csv", CSV.encode() + b"\xc3\x28\xff,A\n"),
    }
    tags = {
        "tags alone": ("d.conll", "O\nB-A\n" * 30),
        "ragged tags": ("d.conll", "a b c d e f O\na O\nB\n\n" * 30),
        "tags of every name": ("d.conll", "".join(f"a B-{n}\n" for n in range(50_000))),
        "an inside that never began": ("d.conll", "a I-A\n\n" * 40),
        "only comments": ("d.conll", "# a\n" * 100),
        "only DOCSTART": ("d.conll", "-DOCSTART- -X- O\n\n" * 100),
    }
    every: dict[str, tuple[str, Any]] = {**long, **deep, **numbers, **encoded, **marks, **tags}
    return [(what, *_file(name, content)) for what, (name, content) in every.items()]


def _make_packed_files() -> list[tuple[str, str, Make]]:
    zeros = gzip.compress(bytes(2**20), 9)
    good = gzip.compress(CSV.encode())
    rows = gzip.compress(b"a,b\n" * 2**18, 9)
    cases: dict[str, tuple[str, bytes | Callable[[], bytes]]] = {
        "a bomb of gzip": ("d.csv.gz", lambda: zeros * 1500),  # members one after another: 1.5 GB
        "a bomb of rows": ("d.csv.gz", gzip.compress(b"text,label\n") + rows * 600),
        "gzip in gzip": ("d.csv.gz", gzip.compress(gzip.compress(CSV.encode()))),
        "half a gzip": ("d.csv.gz", good[: len(good) // 2]),
        "gzip and garbage": ("d.csv.gz", good + b"garbage"),
        "gzip of nothing": ("d.csv.gz", gzip.compress(b"")),
        "a false checksum": ("d.csv.gz", good[:-8] + b"\0" * 8),
        "a header alone": ("d.csv.gz", b"\x1f\x8b"),
        "a zip": ("d.zip", _zip({"a.csv": CSV.encode()})),
        "a zip as CSV": ("d.csv", _zip({"a.csv": CSV.encode()})),
    }
    return [(what, *_file(name, content)) for what, (name, content) in cases.items()]


def _zip(parts: dict[str, bytes]) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return held.getvalue()


# ---- tables of Arrow
def _tables() -> list[tuple[str, str, Make]]:
    import pyarrow
    from pyarrow import ipc, parquet

    plain = pyarrow.table({"text": [text for text, _ in PAIRS], "label": [label for _, label in PAIRS]})
    one = pyarrow.array(["x" * 2**20])
    repeated = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 600, pyarrow.int32()), one)
    nulls = pyarrow.table({"text": pyarrow.nulls(3_000_000), "label": pyarrow.nulls(3_000_000)})
    wide = pyarrow.table({f"c{n}": ["a"] for n in range(6000)})
    nested: Any = pyarrow.array([1])
    for _ in range(200):
        nested = pyarrow.ListArray.from_arrays(pyarrow.array([0, 1], pyarrow.int32()), nested)
    deep = pyarrow.table({"text": nested})
    texts = pyarrow.table({"text": ["hello", "yo", "zz"]})  # offsets 0, 5, 7, 9
    lists = pyarrow.table({"text": pyarrow.array([[1, 2], [3], []], pyarrow.list_(pyarrow.int8()))})  # 0, 2, 3, 3
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": 3}, "text": [[[[{}]]]]}}}
    named = plain.replace_schema_metadata({"huggingface": json.dumps(features)})
    far = plain.replace_schema_metadata({"huggingface": "[" * DEEP})

    def parquet_of(table: Any, **options: Any) -> bytes:
        held = io.BytesIO()
        parquet.write_table(table, held, **options)
        return held.getvalue()

    def arrow_of(table: Any, opener: Any = ipc.new_file) -> bytes:
        held = io.BytesIO()
        with opener(held, table.schema) as writer:
            writer.write_table(table)
        return held.getvalue()

    def patch_bytes(data: bytes, before: tuple[int, ...], after: tuple[int, ...]) -> bytes:
        form = f"<{len(before)}i"
        assert struct.pack(form, *before) in data
        return data.replace(struct.pack(form, *before), struct.pack(form, *after))

    good, stream = parquet_of(plain), arrow_of(plain, ipc.new_stream)

    def long() -> Any:
        return pyarrow.table({"text": pyarrow.array(["a" * 2**20] * 600)})

    cases: dict[str, tuple[str, bytes | Callable[[], bytes]]] = {
        "Parquet: a string 600 times": ("d.parquet", lambda: parquet_of(pyarrow.table({"text": repeated}))),
        "Parquet: 600 MB of one letter": (
            "d.parquet",
            lambda: parquet_of(long(), compression="zstd", use_dictionary=False),
        ),
        "Parquet: three million nulls": ("d.parquet", parquet_of(nulls)),
        "Parquet: 6,000 columns": ("d.parquet", parquet_of(wide)),
        "Parquet: deep": ("d.parquet", parquet_of(deep)),
        "Parquet: no footer": ("d.parquet", good[:-8] + b"\xff\xff\xff\x7fPAR1"),
        "Parquet: marks alone": ("d.parquet", b"PAR1PAR1"),
        "Parquet: half": ("d.parquet", good[: len(good) // 2] + b"PAR1"),
        "Parquet: names that are no list": ("d.parquet", parquet_of(named)),
        "Parquet: deep names": ("d.parquet", parquet_of(far)),
        "Arrow: a string 600 times": ("d.arrow", arrow_of(pyarrow.table({"text": repeated}))),
        "Arrow: three million nulls": ("d.arrow", arrow_of(nulls)),
        "Arrow: offsets outside": ("d.arrow", patch_bytes(arrow_of(texts), (0, 5, 7, 9), (0, 5, -7, 2**30))),
        "Arrow: lists outside": ("d.arrow", patch_bytes(arrow_of(lists), (0, 2, 3, 3), (0, 2**28, 2**29, 2**29))),
        "Arrow: marks alone": ("d.arrow", b"ARROW1\0\0ARROW1"),
        "Arrow: garbage": ("d.arrow", random.Random(1).randbytes(5000)),
        "Arrow: a stream of lengths": ("d.arrow", b"\xff\xff\xff\xff\xff\xff\xff\x7f" + stream),
        "Arrow: half": ("d.arrow", stream[: len(stream) // 2]),
    }
    draw = random.Random(3)
    for number in range(16):
        name, data = draw.choice((("d.parquet", good), ("d.arrow", stream), ("d.arrow", arrow_of(plain))))
        changed = bytearray(data)
        for _ in range(draw.randrange(1, 12)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        cases[f"{name} with bytes changed, {number}"] = (name, bytes(changed))
    saved: dict[str, Any] = {"saved: a state that lies": {"_data_files": [{"filename": "gone.arrow"}]}}
    saved |= {
        "saved: a state that leads out": {"_data_files": [{"filename": "../d.csv"}]},
        "saved: a list": {"_data_files": 3},
    }
    folders = [(what, "saved", _make_saved_dataset(json.dumps(state), stream)) for what, state in saved.items()]
    folders += [
        ("saved: deep", "saved", _make_saved_dataset("[" * DEEP, stream)),
        ("saved: no object", "saved", _make_saved_dataset("[3]", stream)),
    ]
    return [*((what, *_file(name, content)) for what, (name, content) in cases.items()), *folders]


def _make_saved_dataset(state: str, stream: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / "saved").mkdir()
        (folder / "saved" / "state.json").write_text(state)
        (folder / "saved" / "dataset_info.json").write_text("{}")
        (folder / "saved" / "data-0.arrow").write_bytes(stream)

    return make


# ---- workbooks
def _workbooks() -> list[tuple[str, str, Make]]:
    import openpyxl

    held = io.BytesIO()
    book: Any = openpyxl.Workbook()
    for row in [("text", "label"), *PAIRS]:
        book.active.append(row)
    book.save(held)
    with zipfile.ZipFile(held) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    far = '<row r="1048576"><c r="XFD1048576" t="inlineStr"><is><t>x</t></is></c></row></sheetData>'
    entities = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {new} "{f"&{old};" * 10}">' for old, new in zip("abcdefgh", "bcdefghi", strict=True)
    )
    outside = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'

    def change_member(name: str, before: bytes, after: bytes) -> bytes:
        return _zip({**parts, name: parts[name].replace(before, after, 1)})

    good = _zip(parts)
    cases: dict[str, bytes | Callable[[], bytes]] = {
        "xlsx: a cell far away": change_member(sheet, b"</sheetData>", far.encode()),
        "xlsx: entities": change_member(sheet, b"<worksheet", f"{entities}]><worksheet".encode()),
        "xlsx: an entity of a file": change_member(sheet, b"<worksheet", outside + b"<worksheet"),
        "xlsx: entities of strings": _zip({**parts, "xl/sharedStrings.xml": f"{entities}]><sst>&i;</sst>".encode()}),
        "xlsx: a bomb": lambda: _zip({**parts, "xl/media/x.bin": bytes(200 * 2**20)}),
        "xlsx: half": good[: len(good) // 2],
        "xlsx: no sheets": _zip({"xl/workbook.xml": b"<workbook/>"}),
        "xlsx: deep": change_member(sheet, b"<sheetData>", b"<a>" * DEEP),
        "xlsx: no XML": change_member(sheet, b"<worksheet", b"<<<"),
        "xlsx: a size that lies": good.replace(struct.pack("<I", len(parts[sheet])), struct.pack("<I", 2**31 - 1)),
    }
    return [(what, *_file("d.xlsx", content)) for what, content in cases.items()]


def _entries() -> list[tuple[str, str, Make]]:
    """Paths that are no files."""

    def nest_folder(folder: Path) -> None:
        (folder / "many").mkdir()
        os.mkfifo(folder / "many" / "train.csv")

    def link_folder(folder: Path) -> None:
        (folder / "d.csv").symlink_to("d.csv")

    def close_folder(folder: Path) -> None:
        with (folder / "d.csv").open("wb") as handle:
            handle.truncate(2**40)

    return [
        ("a pipe", "d.csv", lambda folder: os.mkfifo(folder / "d.csv")),
        ("a pipe in a folder", "many", nest_folder),
        ("a folder named as a file", "d.csv", lambda folder: (folder / "d.csv").mkdir()),
        ("a link to itself", "d.csv", link_folder),
        ("a device", "d.csv", lambda folder: (folder / "d.csv").symlink_to("/dev/zero")),
        ("a terabyte of nothing", "d.csv", close_folder),
        ("an empty file", "d.csv", lambda folder: (folder / "d.csv").touch()),
    ]


# ---- specs
def specs() -> list[tuple[str, bytes]]:
    """Hostile specs: what it is, and the file's bytes."""
    pairs = list(zip("abcdefgh", "bcdefghi", strict=True))
    aliases = "a: &a [x, x, x]\n" + "".join(f"{new}: &{new} [{', '.join(['*' + old] * 9)}]\n" for old, new in pairs)
    merges = "a: &a {x: 1}\n" + "".join(
        f"{new}: &{new} {{<<: [{', '.join(['*' + old] * 9)}], {new}{new}: 1}}\n" for old, new in pairs
    )
    good = SPEC.format(path="d.csv")
    values: tuple[str, ...] = (
        "!!int x",
        "!!int 0x",
        "!!float x",
        "!!timestamp x",
        "!!timestamp 2024-99-99",
        "!!bool x",
        "!!binary é",
    )
    values += ("!!python/object:os.system x", "!!set {x}", "!!omap x", "9" * 5000, "0o" + "7" * 6000, "0x" + "f" * 6000)
    values += (
        ".inf",
        ".nan",
        "1e999",
        "*b",
        "!x y",
        "&b [*b]",
        "[" * 300 + "]" * 300,
        "{? [a] : b}",
        "\x00",
        "2" * 400,
    )
    texts = {"aliases": aliases, "merges": merges, "deep": "a: " + "[" * DEEP, "deep lists": "- " * DEEP, "nothing": ""}
    texts |= {"documents": good + "--- a\n", "a list": "- a\n", "large": good + "# x\n" * 2_000_000}
    texts |= {f"seed: {value[:20]}": good + f"seed: {value}\n" for value in values}
    texts |= {f"name: {value[:20]}": good.replace("name: x", f"name: {value}") for value in values}
    texts |= {f"ladder: {value[:20]}": good.replace("[majority, rules]", value) for value in values}
    return [(what, text.encode("utf-8", "surrogatepass")) for what, text in texts.items()]
