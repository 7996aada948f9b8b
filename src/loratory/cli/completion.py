"""Values for the shell's completion, read from small files alone: it must answer while a person types.

A function gets what is typed so far and gives words. Where nothing can be read it gives none: an error would be
printed into the person's command line.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from loratory.errors import LoratoryError

SPEC_SUFFIXES = (".yaml", ".yml")
DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".json", ".xlsx", ".parquet", ".txt", ".gz")
MAX_VALUES = 200  # words that are offered
BASE_ACTIONS = ("get", "list", "suggest")
KEY_ACTIONS = ("add", "list", "revoke")

Completer = Callable[[typer.Context, str], list[str]]


def _offer(words: Callable[[str, str], Iterable[str]]) -> Completer:
    """A completer for typer: at most MAX_VALUES of the words that begin with what is typed."""

    @wraps(words)
    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        found: list[str] = []
        try:
            for word in words(_find_first_argument(ctx), incomplete):
                if word.startswith(incomplete) and word not in found:
                    found.append(word)
                if len(found) == MAX_VALUES:
                    break
        except (LoratoryError, OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        return found

    complete.__annotations__ = {"ctx": typer.Context, "incomplete": str}
    del complete.__wrapped__  # typer reads the parameters of this one
    return complete


def _find_first_argument(ctx: typer.Context) -> str:
    """WHERE or SPEC. An option that still lacks its value leaves the arguments before it unread."""
    given: Any = ctx.params.get("where") or ctx.params.get("spec") or ctx.args[:1]
    words = given if isinstance(given, (list, tuple)) else [given]
    return str(words[0]) if words else ""


def _list_paths(typed: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    """Folders, and files with these suffixes, that begin with what is typed, as it is typed."""
    head, slash, start = typed.rpartition("/")
    folder = Path(f"{head}{slash}").expanduser() if slash else Path()
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") and not start.startswith("."):
            continue
        if entry.is_dir():
            yield f"{head}{slash}{entry.name}/"
        elif entry.name.endswith(suffixes):
            yield f"{head}{slash}{entry.name}"


def _list_installed(group: str) -> list[str]:
    from loratory.discovery import list_names

    return list(list_names(group))


@_offer
def complete_spec(first: str, typed: str) -> Iterator[str]:
    """YAML files and folders, then recipes."""
    yield from _list_paths(typed, SPEC_SUFFIXES)
    yield from _list_installed("recipes")


@_offer
def complete_recipe(first: str, typed: str) -> list[str]:
    """Names of recipes."""
    return _list_installed("recipes")


@_offer
def complete_data(first: str, typed: str) -> Iterator[str]:
    """Data files and folders."""
    return _list_paths(typed, DATA_SUFFIXES)


@_offer
def complete_where(first: str, typed: str) -> Iterator[str]:
    """Runs of the folder runs/, then folders."""
    if not typed.removeprefix("runs/").count("/"):
        yield from (str(file.parent) for file in sorted(Path("runs").glob("*/ladder.json")))
    yield from (path for path in _list_paths(typed, ()) if path != "runs/")


def _find_run(first: str) -> Path:
    """The run in the command line; serve takes NAME=RUN, too."""
    return Path(first.rpartition("=")[2]).expanduser()


@_offer
def complete_contender(first: str, typed: str) -> list[str]:
    """The fitted contenders of the run."""
    ladder = json.loads((_find_run(first) / "ladder.json").read_text(encoding="utf-8"))
    return [row["name"] for row in ladder["contenders"] if row["status"] == "fitted"]


@_offer
def complete_spec_contender(first: str, typed: str) -> Iterator[str]:
    """The contenders of the spec."""
    from loratory.experiment.spec_loading import find_spec_file
    from loratory.specs.yaml_files import load_yaml

    for row in load_yaml(find_spec_file(first))[0]["ladder"]:
        yield row if isinstance(row, str) else next(iter(row))


@_offer
def complete_label(first: str, typed: str) -> list[str]:
    """The labels of the run."""
    return list(json.loads((_find_run(first) / "data" / "labels.json").read_text(encoding="utf-8"))["label2id"])


@_offer
def complete_layout(first: str, typed: str) -> list[str]:
    """Names of exporters."""
    return _list_installed("exporters")


@_offer
def complete_method(first: str, typed: str) -> tuple[str, ...]:
    """Ways to redact."""
    from loratory.redaction import REDACTION_METHODS

    return REDACTION_METHODS


@_offer
def complete_task_kind(first: str, typed: str) -> list[str]:
    """Kinds of tasks."""
    return _list_installed("tasks")


@_offer
def complete_key_action(first: str, typed: str) -> tuple[str, ...]:
    """Actions of loratory keys."""
    return KEY_ACTIONS


@_offer
def complete_base_action(first: str, typed: str) -> tuple[str, ...]:
    """Actions of loratory bases."""
    return BASE_ACTIONS
