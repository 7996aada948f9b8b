"""Which files of a folder are train, validation and test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from loratory.data.rows import SUPPORTED_FORMATS
from loratory.errors import DataError

CONLL_SUFFIXES = (".conll", ".bio", ".iob", ".iob2")
DATA_SUFFIXES = (  # in order of preference
    *(".parquet", ".arrow", ".feather", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".tab"),
    *(*CONLL_SUFFIXES, ".xlsx", ".xlsm", ".txt"),
)
PART_NAMES = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
SHARD_PATTERN = re.compile(r"-\d+-of-\d+(-\w+)?$")  # train-00000-of-00001-701d16158af87368.parquet
ALIGNED_FILES = {"seq.in", "label"}  # two files whose lines belong together


def get_format_suffix(file: Path) -> str:
    """The ending that tells the format, without .gz, in small letters."""
    name = file.name.lower().removesuffix(".gz")
    return Path(name).suffix


def get_stem(file: Path) -> str:
    """The name without the ending that tells the format."""
    name = file.name.lower().removesuffix(".gz")
    return name.removesuffix(get_format_suffix(file)) if get_format_suffix(file) in DATA_SUFFIXES else name


def find_part_files(folder: Path, display_path: str) -> tuple[Mapping[str, list[Path]], list[str]]:
    """Part -> its files (or one folder of aligned files), and what was passed over; raises DataError."""
    for place in (folder, folder / "data"):
        if place.is_dir():
            parts, over = _find_parts_in(place)
            if "train" in parts:
                return parts, [f"{display_path}: passed over {', '.join(over)}"] if over else []
    return {"train": _find_only_file(folder, display_path)}, []


def map_splits_to_parts(splits: Sequence[str], display_path: str, remedy: str) -> tuple[dict[str, str], list[str]]:
    """Part -> the split of a data set that is it, and what is to be said; a data set's only split is train.

    Raises DataError where there is no train.
    """
    parts: dict[str, str] = {}
    for split in splits:
        part = PART_NAMES.get(split.casefold()) or ("train" if len(splits) == 1 else None)
        if part is not None:
            parts.setdefault(part, split)
    if "train" not in parts:
        raise DataError(
            f"the data set has no train split, only {', '.join(splits) or 'none'}", where=display_path, remedy=remedy
        )
    over = [split for split in splits if split not in parts.values()]
    others = {part: split for part, split in parts.items() if part != "train"}
    said = [
        f"{part} is the split {split} of {display_path}, and is not split from train" for part, split in others.items()
    ]
    return parts, said + ([f"{display_path}: passed over the splits {', '.join(over)}"] if over else [])


def find_aligned_files(folder: Path) -> list[Path]:
    """The line-aligned files of a folder such as train/{seq.in,label}; none when it is no such folder."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith("."))
    return files if {file.name for file in files} >= ALIGNED_FILES else []


def _find_parts_in(folder: Path) -> tuple[dict[str, list[Path]], list[str]]:
    found: dict[str, dict[str, list[Path]]] = {}
    over: list[str] = []
    for entry in sorted(folder.iterdir()):
        files = _list_readable_files(entry)
        part = PART_NAMES.get(SHARD_PATTERN.sub("", entry.name.lower() if entry.is_dir() else get_stem(entry)))
        if files and part:
            found.setdefault(part, {}).setdefault(_get_file_kind(entry), []).extend(files)
        elif files and entry.name != "data":
            over.append(entry.name)
    chosen: dict[str, list[Path]] = {}
    for part, kinds in found.items():
        best, *others = sorted(kinds, key=_rank_file_kind)
        chosen[part] = kinds[best]
        over += [file.name for kind in others for file in kinds[kind]]
    return chosen, over


def _get_file_kind(entry: Path) -> str:
    """Name and format: train.csv and valid.csv are two kinds, the shards of one part are one."""
    return ("/" if entry.is_dir() else get_format_suffix(entry)) + " " + SHARD_PATTERN.sub("", get_stem(entry))


def _rank_file_kind(kind: str) -> tuple[int, str]:
    ending = kind.split(" ")[0]
    return (DATA_SUFFIXES.index(ending) if ending in DATA_SUFFIXES else len(DATA_SUFFIXES), kind)


def _list_readable_files(entry: Path) -> list[Path]:
    """What an entry of a folder offers to read: itself, its shards, or itself as a folder of aligned files."""
    if entry.name.startswith("."):
        return []
    if not entry.is_dir():
        return [entry] if get_format_suffix(entry) in DATA_SUFFIXES else []
    if find_aligned_files(entry):
        return [entry]
    inner = sorted(file for file in entry.iterdir() if file.is_file() and get_format_suffix(file) in DATA_SUFFIXES)
    return inner if len({get_format_suffix(file) for file in inner}) == 1 else []


def _find_only_file(folder: Path, display_path: str) -> list[Path]:
    """The one data file of a folder without parts, or the folder itself when its files are aligned."""
    if find_aligned_files(folder):
        return [folder]
    entries = sorted(folder.iterdir())
    files = [entry for entry in entries if _list_readable_files(entry)]
    if len(files) == 1:
        return _list_readable_files(files[0])
    plain = [file for file in entries if file.is_file() and file.name.isalnum() and not file.name.isupper()]
    if not files and len(plain) == 1:  # SMSSpamCollection beside LICENSE and SOURCE.md
        return plain
    listed = ", ".join(file.name for file in files[:8]) or "no data file"
    raise DataError(
        f"the folder has no train file; it holds {listed}",
        where=display_path,
        allowed=SUPPORTED_FORMATS,
        remedy="name a file: data: path: FOLDER/FILE, or call the files train.* and test.*",
    )
