"""Which files of a folder are train, validation and test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from loratory.data.rows import FORMATS
from loratory.errors import DataError

TAGGED = (".conll", ".bio", ".iob", ".iob2")
SUFFIXES = (  # in order of preference
    *(".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab"),
    *(*TAGGED, ".xlsx", ".xlsm", ".txt"),
)
PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
SHARD = re.compile(r"-\d+-of-\d+(-\w+)?$")  # train-00000-of-00001-701d16158af87368.parquet
ALIGNED = {"seq.in", "label"}  # two files whose lines belong together


def suffix(file: Path) -> str:
    """The ending that tells the format, without .gz, in small letters."""
    name = file.name.lower().removesuffix(".gz")
    return Path(name).suffix


def stem(file: Path) -> str:
    """The name without the ending that tells the format."""
    name = file.name.lower().removesuffix(".gz")
    return name.removesuffix(suffix(file)) if suffix(file) in SUFFIXES else name


def find_parts(folder: Path, shown: str) -> tuple[Mapping[str, list[Path]], list[str]]:
    """Part -> its files (or one folder of aligned files), and what was passed over; raises DataError."""
    for place in (folder, folder / "data"):
        if place.is_dir():
            parts, over = _parts(place)
            if "train" in parts:
                return parts, [f"{shown}: passed over {', '.join(over)}"] if over else []
    return {"train": _only(folder, shown)}, []


def choose_splits(splits: Sequence[str], shown: str, remedy: str) -> tuple[dict[str, str], list[str]]:
    """Part -> the split of a data set that is it, and what is to be said; a data set's only split is train.

    Raises DataError where there is no train.
    """
    parts: dict[str, str] = {}
    for split in splits:
        part = PARTS.get(split.casefold()) or ("train" if len(splits) == 1 else None)
        if part is not None:
            parts.setdefault(part, split)
    if "train" not in parts:
        raise DataError(
            f"the data set has no train split, only {', '.join(splits) or 'none'}", where=shown, remedy=remedy
        )
    over = [split for split in splits if split not in parts.values()]
    others = {part: split for part, split in parts.items() if part != "train"}
    said = [f"{part} is the split {split} of {shown}, and is not split from train" for part, split in others.items()]
    return parts, said + ([f"{shown}: passed over the splits {', '.join(over)}"] if over else [])


def aligned(folder: Path) -> list[Path]:
    """The line-aligned files of a folder such as train/{seq.in,label}; none when it is no such folder."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return files if {file.name for file in files} >= ALIGNED else []


def _parts(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    found: dict[str, dict[str, list[Path]]] = {}
    over: list[str] = []
    for entry in sorted(folder.iterdir()):
        files = _files(entry)
        part = PARTS.get(SHARD.sub("", entry.name.lower() if entry.is_dir() else stem(entry)))
        if files and part:
            found.setdefault(part, {}).setdefault(_kind(entry), []).extend(files)
        elif files and entry.name != "data":
            over.append(entry.name)
    chosen: dict[str, list[Path]] = {}
    for part, kinds in found.items():
        best, *others = sorted(kinds, key=_preference)
        chosen[part] = kinds[best]
        over += [file.name for kind in others for file in kinds[kind]]
    return chosen, over


def _kind(entry: Path) -> str:
    """Name and format: train.csv and valid.csv are two kinds, the shards of one part are one."""
    return ("/" if entry.is_dir() else suffix(entry)) + " " + SHARD.sub("", stem(entry))


def _preference(kind: str) -> tuple[int, str]:
    ending = kind.split(" ")[0]
    return (SUFFIXES.index(ending) if ending in SUFFIXES else len(SUFFIXES), kind)


def _files(entry: Path) -> list[Path]:
    """What an entry of a folder offers to read: itself, its shards, or itself as a folder of aligned files."""
    if entry.name.startswith("."):
        return []
    if not entry.is_dir():
        return [entry] if suffix(entry) in SUFFIXES else []
    if aligned(entry):
        return [entry]
    inner = sorted(file for file in entry.iterdir() if file.is_file() and suffix(file) in SUFFIXES)
    return inner if len({suffix(file) for file in inner}) == 1 else []


def _only(folder: Path, shown: str) -> list[Path]:
    """The one data file of a folder without parts, or the folder itself when its files are aligned."""
    if aligned(folder):
        return [folder]
    entries = sorted(folder.iterdir())
    files = [entry for entry in entries if _files(entry)]
    if len(files) == 1:
        return _files(files[0])
    plain = [file for file in entries if file.is_file() and file.name.isalnum() and not file.name.isupper()]
    if not files and len(plain) == 1:  # SMSSpamCollection beside LICENSE and SOURCE.md
        return plain
    listed = ", ".join(file.name for file in files[:8]) or "no data file"
    raise DataError(
        f"the folder has no train file; it holds {listed}",
        where=shown,
        allowed=FORMATS,
        remedy="name a file: data: path: FOLDER/FILE, or call the files train.* and test.*",
    )
