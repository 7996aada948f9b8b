"""`loratory export`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loratory.cli.completion import complete_layout
from loratory.cli.options import ContenderOption, JsonOption, QuietOption, WhereArgument

if TYPE_CHECKING:
    from loratory.cli.output import Output

NAME = "export"
EXAMPLES = (
    "loratory export runs/tickets",
    "loratory export runs/tickets --to peft,onnx",
    "loratory export runs/tickets -c lora --to int8 --margin 0.01 -o exported",
)


def command(
    where: WhereArgument,
    formats: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="NAMES",
            help="The formats to write: onnx or peft,onnx,int8.",
            show_default=False,
            autocompletion=complete_layout,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where to write. Default: RUN/exports/<format>.",
            show_default=False,
        ),
    ] = None,
    contender: ContenderOption = None,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An option of a format: --set task_name=pii (repeatable)."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin",
            metavar="SHARE",
            min=0.0,
            max=0.05,
            help="How much of the headline score a quantised form may lose. Default: evidence: margin of the spec.",
            show_default=False,
        ),
    ] = None,
    no_test_texts: Annotated[
        bool,
        typer.Option("--no-test-texts", help="Keep texts of the test split out of goldens.jsonl."),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Export a model for other programs, with a certificate.

    Without --to and --output it lists the formats, their options, and why a format does not support this model; without
    --to it writes peft. A form that does not
    answer as the fit is refused with exit code 3, and nothing of it is kept. A folder is replaced only where an export
    of the same model wrote it.
    """
    from loratory.cli.output import Output

    out = Output(as_json, quiet)
    if formats is None and output is None:
        _print_exporters(where, contender, out)
        return
    from loratory.api.exports import export
    from loratory.specs.option_parsing import parse_assignments

    with out.note_when_slow(f"exporting {where} to {formats or 'peft'} ..."):
        done = export(
            where,
            output,
            to=formats or "peft",
            contender=contender,
            options=parse_assignments(change or ()),
            margin=margin,
            test_texts=not no_test_texts,
        )
    for note in done.notes:
        out.note(f"note: {note}")
    for folder in done.folders:
        out.print(f"exported: {folder}", *_describe_certificate(done.certificates.get(folder)))
    certificates = {str(folder): one for folder, one in done.certificates.items()}
    out.json(
        {"folders": [str(folder) for folder in done.folders], "notes": list(done.notes), "certificates": certificates}
    )


def _describe_certificate(certificate: Mapping[str, Any] | None) -> list[str]:
    """What a certificate says, in lines below its folder."""
    if certificate is None:
        return []
    from loratory.exporting.certificates.summary import summarise_certificate

    return [f"  {line}" for line in summarise_certificate(certificate)]


def _print_exporters(where: Path, contender: str | None, out: Output) -> None:
    from dataclasses import asdict

    from loratory.experiment.export_fit import list_exporters

    rows = list_exporters(where, contender)
    for row in rows:
        out.print(
            f"{row.name:<12} {row.summary}",
            *(f"{'':<12} --set {one['name']}=...: {one['help']} ({one['allowed']})" for one in row.options),
            f"{'':<12} {'supports this model' if row.suits else f'does not support this model: {row.problem}'}",
        )
    out.json([asdict(row) for row in rows])
    out.next(f"loratory export {where} --to NAME")
