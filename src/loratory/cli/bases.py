"""`loratory bases`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from loratory.cli.completion import BASE_ACTIONS, complete_base_action
from loratory.cli.options import JsonOption, QuietOption
from loratory.cli.output import Output

NAME = "bases"
EXAMPLES = (
    "loratory bases",
    "loratory bases suggest spec.yaml",
    "loratory bases get intfloat/multilingual-e5-small",
)
GIVEN = {"suggest": "a spec or examples: loratory bases suggest spec.yaml", "get": "a base: loratory bases get minilm"}


def command(
    action: Annotated[
        str,
        typer.Argument(metavar="ACTION", help="list, suggest or get.", autocompletion=complete_base_action),
    ] = "list",
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="WHAT", help="suggest: a spec or examples. get: a base, as base: names it.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the bases, and suggest one for your texts.

    A base is a pretrained model that a contender starts from. `list` shows the known ones and which of them are on
    this machine. `suggest` measures the train texts (language, capital letters, length, kind of answer) and names the
    base they ask for, with the evidence; it changes nothing. `get` fetches a base from the hub and checks it.
    """
    out = Output(as_json, quiet)
    _check_arguments(action, what)
    if action == "list":
        _list_bases(out)
    elif action == "suggest":
        _suggest_base(out, str(what))
    else:
        _get_base(out, str(what))


def _check_arguments(action: str, what: str | None) -> None:
    from loratory.errors import SpecError, suggest_nearest

    if action not in BASE_ACTIONS:
        raise SpecError(
            f"unknown action {action!r}{suggest_nearest(action, BASE_ACTIONS)}",
            where="loratory bases",
            allowed=", ".join(BASE_ACTIONS),
        )
    if (what is None) != (action == "list"):
        wrong = f"{action} takes nothing more" if action == "list" else f"{action} needs {GIVEN[action]}"
        raise SpecError(wrong, where="loratory bases")


def _list_bases(out: Output) -> None:
    from loratory.api.bases import bases

    with out.note_when_slow("checking the bases on this machine ..."):
        found = bases()
    for base in found:
        out.print(*_describe_base(base))
    out.json(found)
    out.next(
        "loratory bases suggest SPEC    (measure what your texts ask for)", "loratory bases get NAME        (fetch)"
    )


def _suggest_base(out: Output, source: str) -> None:
    from loratory.api.bases import suggest_base

    with out.note_when_slow("measuring the texts ..."):
        found = suggest_base(source)
    from loratory.experiment.base_suggestions import format_suggestion

    out.print(*format_suggestion(found))
    out.json(found.to_json())
    if found.suggested and not found.keeps:
        out.next(f"loratory bases get {found.suggested}", f"loratory run SPEC --set base={found.suggested}")


def _get_base(out: Output, name: str) -> None:
    from loratory.api.bases import get_base

    with out.note_when_slow(f"fetching {name} ..."):
        found = get_base(name)
    out.print(f"{name}  {_format_bytes(found['bytes'])}, digest {found['digest']}, {found['folder']}")
    out.json(found)
    pinned = f"{name}@{found['revision']}" if found["revision"] and "@" not in name else name
    out.next(f"base: {pinned}    (in the spec)")


def _describe_base(base: Mapping[str, Any]) -> list[str]:
    """Two lines: what it is, and where it is."""
    kind = "writes" if base["kind"] == "causal" else "encoder"
    count, names = base["language_count"], base["languages"]
    languages = f"{count} languages" if count > 1 else names[0]
    case = {True: "cased", False: "lower-cases", None: "case not known"}[base["cased"]]
    window = f"{base['window']:,} tokens" if base["window"] else "window not known"
    size = _format_bytes(base["bytes"])
    if base["here"]:
        where = f"here, digest {base['digest']}"
    else:
        where = f"not usable: {base['problem']}" if base["problem"] else "not here"
    facts = (kind, f"{_format_count(base['parameters'])} parameters", size, base["licence"], languages, case, window)
    origin = f"from {base['origin']}; " if base["origin"] != base["name"] else "from the hub; "
    return [f"{base['name']}  {', '.join(facts)}", f"    {origin}{where}; {base['note']}"]


def _format_count(parameters: int) -> str:
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e9 else f"{parameters / 1e6:.4g} M"


def _format_bytes(size: int | None) -> str:
    if size is None:
        return "size not known"
    return f"{size / 1e9:.2f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
