"""The split on disk: Parquet with a stable `label_text`, task.json, labels.json, split.json and quality.json."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

from loratory.artifacts.durable_files import to_json
from loratory.artifacts.manifests import digest_of
from loratory.artifacts.verified_files import VerifiedFiles, open_files
from loratory.data.dataset import Parts
from loratory.errors import ArtifactError, make_missing_extra
from loratory.protocols import JSON, Example, Labelled, Task

if TYPE_CHECKING:
    import pyarrow

SettledT = TypeVar("SettledT", bound=Task)


def write_split(folder: Path, task: Task, parts: Parts, facts: Mapping[str, JSON]) -> None:
    """Write every part into a staging folder (see artifacts.staging, which makes it durable).

    `facts["quality"]` goes into quality.json; the other facts (seed, shares asked, columns, ...) into split.json,
    beside what was got: examples, shares and digest of each part.
    """
    parquet, pyarrow = _import_pyarrow()
    for name, examples in parts.items():
        parquet.write_table(pyarrow.table(_build_columns(task, examples)), folder / f"{name}.parquet")
    total = sum(len(examples) for _, examples in parts.items())
    got = {
        name: {"examples": len(examples), "share": len(examples) / total, "digest": digest_examples(examples)}
        for name, examples in parts.items()
    }
    others = {key: value for key, value in facts.items() if key != "quality"}
    _write_json(folder / "split.json", {**others, "parts": got})
    _write_json(folder / "quality.json", facts.get("quality", {}))
    settled: Any = task
    _write_json(folder / "task.json", settled.model_dump(mode="json"))
    if isinstance(task, Labelled):
        labels = task.labels or ()
        _write_json(
            folder / "labels.json",
            {
                "label2id": {label: number for number, label in enumerate(labels)},
                "id2label": {str(number): label for number, label in enumerate(labels)},
            },
        )


def read_task(source: Path | VerifiedFiles, task: SettledT) -> SettledT:
    """The task as `write` was given it, its open options settled; `task` as the spec has it tells the class.

    Raises ArtifactError.
    """
    files = open_files(source)
    model: Any = type(task)  # a pydantic model, as all tasks are
    try:
        made: SettledT = model.model_validate_json(files.read("task.json"))
        return made
    except (ArtifactError, ValueError) as problem:
        raise ArtifactError(
            "the split has no task.json that can be read", where=str(files.folder), remedy="run loratory again"
        ) from problem


def read_split(source: Path | VerifiedFiles, task: Task) -> Parts:
    """The parts of a settled task that `write` wrote; raises ArtifactError when the folder holds no split."""
    parquet, _ = _import_pyarrow()
    files, found = open_files(source), dict[str, list[Example]]()
    for name in Parts.__dataclass_fields__:
        file = f"{name}.parquet"
        if not files.has(file):
            raise ArtifactError(f"the split has no {file}", where=str(files.folder), remedy="run loratory again")
        rows = parquet.read_table(io.BytesIO(files.read(file))).to_pylist()
        found[name] = [_parse_example(row) for row in rows]
    return Parts.of(task, **found)


def digest_examples(examples: Sequence[Example]) -> str:
    """SHA-256 over the sorted digests of what each says: the same examples in any order have the same digest."""
    rows = sorted(digest_of(example.content) for example in examples)
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def digest_training_order(examples: Sequence[Example]) -> str:
    """SHA-256 over (content, weight) of each example in turn: what training goes by, in the order it goes by."""
    return digest_of([[*example.content, example.weight] for example in examples])


def digest_groups(examples: Sequence[Example]) -> str:
    """SHA-256 of which examples belong together, whatever their order and whatever the groups are called."""
    groups: dict[str, list[str]] = {}
    for example in examples:
        name = example.group or example.origin
        groups.setdefault(name, []).append(digest_of(example.content))
    return digest_of(sorted(sorted(inside) for inside in groups.values()))


def _import_pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as problem:
        raise make_missing_extra("pyarrow", "train") from problem
    return parquet, pyarrow


def _build_columns(task: Task, examples: Sequence[Example]) -> dict[str, Any]:
    _, pyarrow = _import_pyarrow()
    text = pyarrow.string()
    columns = {
        "id": pyarrow.array([example.origin for example in examples], text),
        "group": pyarrow.array([example.group for example in examples], text),
        "weight": pyarrow.array([example.weight for example in examples], pyarrow.float64()),
        "input": pyarrow.array([_to_canonical_json(example.input) for example in examples], text),
        "answer": pyarrow.array([_to_canonical_json(example.answer) for example in examples], text),
        **_build_optional_columns(examples, text, pyarrow),
    }
    if isinstance(task, Labelled):
        numbers = {label: number for number, label in enumerate(task.labels or ())}
        labels = [task.label_of(example.answer) for example in examples]
        columns["text"] = pyarrow.array([task.text(example.input) for example in examples], text)
        columns["label"] = pyarrow.array([numbers[label] for label in labels], pyarrow.int64())
        columns["label_text"] = pyarrow.array(labels, text)
    return columns


def _build_optional_columns(examples: Sequence[Example], text: pyarrow.DataType, pyarrow: ModuleType) -> dict[str, Any]:
    """`rejected` and `extras` as JSON text, each only where an example holds one."""
    columns: dict[str, Any] = {}
    if any(example.rejected is not None for example in examples):
        values = [None if one.rejected is None else _to_canonical_json(one.rejected) for one in examples]
        columns["rejected"] = pyarrow.array(values, text)
    if any(example.extras for example in examples):
        columns["extras"] = pyarrow.array([_to_canonical_json(dict(one.extras)) for one in examples], text)
    return columns


def _parse_example(row: Mapping[str, Any]) -> Example:
    rejected, extras = row.get("rejected"), row.get("extras")
    return Example(
        json.loads(row["input"]),
        json.loads(row["answer"]),
        row["group"],
        row["weight"],
        row["id"],
        None if rejected is None else json.loads(rejected),
        {} if extras is None else json.loads(extras),
    )


def _to_canonical_json(value: JSON) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _write_json(file: Path, value: JSON) -> None:
    file.write_text(to_json(value), encoding="utf-8")
