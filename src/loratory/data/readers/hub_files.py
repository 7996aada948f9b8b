"""Which files of a data set of the hub are which split, from their names and from the head of its README.

The rules are those of Hugging Face's `datasets` (docs: "Structure your repository", "Manual configuration"), as far as
files that this package reads go. Everything here is a function of names and text: nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ruamel.yaml.error import YAMLError

from loratory.data.readers.folders import DATA_SUFFIXES, PART_NAMES, SHARD_PATTERN, get_format_suffix, get_stem
from loratory.specs.yaml_values import YamlValue, parse_yaml_value

FilesBySplit = Mapping[str, Sequence[str]]  # split -> paths inside of the repository, in order
FRONT_MATTER_PATTERN = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
CONVERTED_PATTERN = re.compile(r"(?P<config>[^/]+)/(?P<split>[^/]+)/\d+\.parquet")  # of refs/convert/parquet
PARTIAL_PREFIX = "partial-"  # of a split of which the hub converted the first gigabytes only
DEFAULT_CONFIG = "default"
OTHER_FILES = frozenset(  # that a reader would take for data
    "dataset_info.json dataset_infos.json dataset_dict.json state.json requirements.txt license.txt".split()
)


@dataclass(frozen=True)
class HubFiles:
    """The configurations of a data set: name -> split -> files. `default` is read when none is named."""

    configs: Mapping[str, FilesBySplit]
    default: str | None = None
    class_names: Mapping[str, Mapping[str, Sequence[str]]] = field(default_factory=dict)  # config -> column -> names


def find_converted_files(paths: Sequence[str], card: str) -> HubFiles | None:
    """The files of the hub's own Parquet copy; None where it holds none, or not all of a split.

    Its folders are the configurations; only the README (`card`) says which of several is the default.
    """
    configs: dict[str, dict[str, list[str]]] = {}
    for path in sorted(paths):
        if (match := CONVERTED_PATTERN.fullmatch(path)) is not None:
            configs.setdefault(match["config"], {}).setdefault(match["split"], []).append(path)
    if not configs or any(split.startswith(PARTIAL_PREFIX) for splits in configs.values() for split in splits):
        return None
    return HubFiles(configs, find_default(list(configs), parse_card(card)))


def find_own_files(paths: Sequence[str], card: str) -> HubFiles:
    """The files of the data set as its owner keeps them: as its README's `configs` says, else by their names."""
    values = parse_card(card)
    listed = [entry for entry in _as_list(values.get("configs")) if isinstance(entry, dict)]
    configs = {str(entry.get("config_name", DEFAULT_CONFIG)): _find_config_files(entry, paths) for entry in listed}
    if not configs:
        configs = {DEFAULT_CONFIG: find_split_files(paths)}
    return HubFiles(configs, find_default(list(configs), values), _find_class_names(values))


def parse_card(card: str) -> dict[str, YamlValue]:
    """The values at the head of a README; none where there is no head or it is no YAML."""
    match = FRONT_MATTER_PATTERN.match(card)
    try:
        values = parse_yaml_value(match[1]) if match is not None else None
    except YAMLError:
        return {}
    return values if isinstance(values, dict) else {}


def find_default(names: Sequence[str], card: Mapping[str, YamlValue]) -> str | None:
    """The only configuration, the one that the README marks, or the one called `default`."""
    if len(names) == 1:
        return names[0]
    for entry in _as_list(card.get("configs")):
        if isinstance(entry, dict) and entry.get("default") is True and entry.get("config_name") in names:
            return str(entry["config_name"])
    return DEFAULT_CONFIG if DEFAULT_CONFIG in names else None


def find_split_files(paths: Sequence[str]) -> dict[str, list[str]]:
    """Split -> files by their names: `train-00000-of-00002.parquet`, `data/test.csv`, `en/dev/part1.jsonl`.

    Of several formats only the preferred one is read. Files that name no split are train where no file names one.
    """
    readable = [path for path in sorted(paths) if _is_data_file(Path(path))]
    splits: dict[str, list[str]] = {}
    for path in readable:
        if (split := _find_split_name(path)) is not None:
            splits.setdefault(split, []).append(path)
    if not splits:
        splits = {"train": readable} if readable else {}
    return {split: _keep_preferred_format(files) for split, files in splits.items()}


def match_paths(pattern: str, paths: Sequence[str]) -> list[str]:
    """The paths that a README's pattern names: `*` stays inside of a folder, `**` does not.

    A folder's name stands for the files in it.
    """
    pattern = pattern.removeprefix("./")
    parts = re.split(r"(\*\*/?|\*|\?|\[[^\]]+\])", pattern)
    forms = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    whole = "".join(
        forms.get(part) or (part.replace("[!", "[^") if part[:1] == "[" and len(part) > 2 else re.escape(part))
        for part in parts
    )
    try:
        expression = re.compile(f"(?:{whole})(?:/[^/]+)?" if not pattern.endswith("/") else f"(?:{whole})[^/]+")
    except re.error:  # a range such as [z-a]
        return []
    exact = [path for path in sorted(paths) if re.fullmatch(whole, path)]
    return exact or [path for path in sorted(paths) if expression.fullmatch(path)]


def _is_data_file(path: Path) -> bool:
    hidden = any(part.startswith((".", "_")) for part in path.parts)
    return get_format_suffix(path) in DATA_SUFFIXES and path.name.lower() not in OTHER_FILES and not hidden


def _find_config_files(entry: Mapping[str, YamlValue], paths: Sequence[str]) -> dict[str, list[str]]:
    """Split -> files of one entry of a README's `configs`."""
    folder = str(entry.get("data_dir") or "").strip("/").removeprefix("./")
    if folder:
        paths = [path for path in paths if path.startswith(f"{folder}/")]
    data_files = entry.get("data_files")
    if data_files is None:
        return find_split_files(paths)
    if isinstance(data_files, dict):
        return {str(split): _match_all(patterns, folder, paths) for split, patterns in data_files.items()}
    splits: dict[str, list[str]] = {}
    for one in _as_list(data_files):
        split, patterns = (str(one.get("split", "train")), one.get("path")) if isinstance(one, dict) else ("train", one)
        splits.setdefault(split, []).extend(_match_all(patterns, folder, paths))
    return splits


def _match_all(patterns: YamlValue, folder: str, paths: Sequence[str]) -> list[str]:
    prefix = f"{folder}/" if folder else ""
    return [path for pattern in _as_list(patterns) for path in match_paths(f"{prefix}{pattern}", paths)]


def _find_split_name(path: str) -> str | None:
    """The split that a path names: the innermost part of it that has one of their names as a word."""
    place = Path(path)
    for part in (SHARD_PATTERN.sub("", get_stem(place)), *reversed(place.parent.parts)):
        for word in re.split(r"[^a-z0-9]+", part.lower()):
            if word in PART_NAMES:
                return word
    return None


def _keep_preferred_format(files: Sequence[str]) -> list[str]:
    best = min((get_format_suffix(Path(file)) for file in files), key=DATA_SUFFIXES.index)
    return [file for file in files if get_format_suffix(Path(file)) == best]


def _find_class_names(card: Mapping[str, YamlValue]) -> dict[str, dict[str, list[str]]]:
    """Configuration -> column -> names of its class numbers, from a README's `dataset_info`."""
    found: dict[str, dict[str, list[str]]] = {}
    for entry in _as_list(card.get("dataset_info")):
        features = entry.get("features") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and isinstance(features, list):
            columns = {
                str(feature.get("name")): names
                for feature in features
                if isinstance(feature, dict) and (names := _get_class_names(feature.get("dtype")))
            }
            found[str(entry.get("config_name", DEFAULT_CONFIG))] = columns
    return found


def _get_class_names(dtype: YamlValue) -> list[str]:
    """The names of `{class_label: {names: {'0': ham, '1': spam}}}`, or of a list of names, in the order of numbers."""
    label = dtype.get("class_label") if isinstance(dtype, dict) else None
    names = label.get("names") if isinstance(label, dict) else None
    if isinstance(names, dict):
        numbers = sorted(names, key=lambda number: int(number) if number.isdecimal() else -1)
        return [str(names[number]) for number in numbers]
    return [str(name) for name in names] if isinstance(names, list) else []


def _as_list(value: YamlValue) -> list[YamlValue]:
    return value if isinstance(value, list) else [] if value is None else [value]
