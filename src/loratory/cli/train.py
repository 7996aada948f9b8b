"""`loratory train`."""

from __future__ import annotations

from loratory.cli.options import (
    DataOption,
    JsonOption,
    OutputOption,
    QuietOption,
    SetOption,
    SpecArgument,
    SpecContendersOption,
)

NAME = "train"
EXAMPLES = ("loratory train spec.yaml -c tfidf", "loratory train spec.yaml -c lora --set lora.rank=8")


def command(
    spec: SpecArgument,
    contender: SpecContendersOption = None,
    data: DataOption = None,
    output: OutputOption = None,
    change: SetOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train contenders without reading the test set.

    It prints the validation score of each contender. Use it while you choose options: each reading of the test set
    makes its figures less trustworthy.
    """
    from loratory.cli.output import Output
    from loratory.experiment.spec_loading import load_spec

    out = Output(as_json, quiet)
    parsed = load_spec(spec, data, change or ())  # a mistake is told before the libraries are loaded
    from loratory.experiment.run_paths import RunPaths
    from loratory.experiment.train import train_contenders

    with out.progress() as screen:
        rows = train_contenders(parsed, RunPaths.for_spec(parsed, output), contender or (), screen)
    for row in rows:
        out.print(f"{row['contender']:<16} {row['headline']} {row['score']:.4f} on validation, {row['folder']}")
    out.json(rows)
