"""Writes the generated pages of docs/ from the models, the command line, templates and what benchmarks found.

python docs/generate.py            write them
python docs/generate.py --check    end with 1 where one of them is out of date
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.testing import CliRunner

from loratory.backbones.loading.bases import EMBEDDED_BASES, locate_base
from loratory.backbones.loading.tokenizers import FastTokenizer
from loratory.cli import VERBS, app
from loratory.data.columns import match_columns
from loratory.data.examples import to_examples
from loratory.data.quality.languages import measure_everyday_words
from loratory.data.readers.source_reader import read_source
from loratory.discovery import list_names, load_named
from loratory.errors import LoratoryError
from loratory.evaluation.verdict.headlines import HEADLINE_CASES
from loratory.experiment.editor_schema import collect_known_classes, format_schema
from loratory.experiment.init.spec_writer import write_spec_for_data
from loratory.experiment.spec_loading import load_spec
from loratory.specs.data import DataSpec, SplitSpec
from loratory.specs.evidence import Ceiling, EvidenceSpec, Floor, GateSpec
from loratory.specs.field_descriptions import describe_allowed
from loratory.specs.generation import GenerationSpec
from loratory.specs.operating_point import AbstainSpec, OperatingSpec, ThresholdSpec
from loratory.specs.serve import LimitsSpec, ServedTaskSpec, ServerSpec, ServeSpec
from loratory.specs.spec import DEFAULT_BASE
from loratory.specs.spec_schema import SECTION_HELP, KnownClasses, build_spec_schema
from loratory.specs.stress import StressSpec
from loratory.specs.training import ConsistencySpec, LossSpec, TrainingSpec

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "tests"))
from annotation_formats import FORMS, Form, expected_answer, make_samples  # noqa: E402

CLAIMS = DOCS.parent / "benchmarks" / "results" / "evidence.json"
FAULTS = DOCS.parent / "benchmarks" / "results" / "faults.json"
MADE = "<!-- Made by docs/generate.py; a test compares them. Change the models or the commands, not this page. -->\n"
HEAD = "| key | allowed | default | meaning |\n|---|---|---|---|\n"
WIDTH = 80  # columns of a terminal: help texts are whole there
CUT_LANGUAGES = ("English", "German", "French", "Spanish", "Polish", "Turkish")

SPEC = """\
# The spec, key by key

This page is the reference for `spec.yaml`, the file that `loratory run` reads. It says what is to be learnt, from
which data, and what must hold. The shortest useful spec:

```yaml
name: tickets
task: {{kind: classify}}
data: messages.csv
ladder: [rules, tfidf, lora]
```

- `loratory init DATA` writes a spec for your file. `loratory check` tests it.
- An editor that reads JSON Schema completes and checks it with [spec.schema.json](spec.schema.json);
  `loratory schema` prints the same file.
- `--set KEY=VALUE` changes one key for one command: `--set training.seeds=3`.
- YAML is read by the core schema of YAML 1.2: `yes`, `no` and `12:30` are text.
- An unknown key, and a key that is written twice, are errors.
- Relative paths (in `data:`, and a folder as `base:`) start at the folder of the spec.

| key | meaning |
|---|---|
{frame}

The name of each regime is a key too. Its options there apply to all contenders of the regime; a contender's own
options override them.
"""

LADDER = """\
## `ladder`

A list, simplest contender first. An entry is the name of a regime, or a name of your own with
`{{regime: ..., options}}`. The option `base:` gives a contender another base than the spec's (`{base}` when left out).

The option `start:` names another contender. This one then starts from that contender's fit and not from a base.
Contenders are fitted in the order that follows from `start:`, whatever their order in the list:

```yaml
ladder:
  - head
  - lora: {{start: head}}                     # starts with a trained head
  - lora-2: {{regime: lora, start: lora}}     # trains the same adapter further
  - student: {{regime: distil, start: lora}}  # a regime of your own: extending/regimes.md
```

- The fit with seed *n* starts from the other contender's fit with seed *n*, without that fit's operating point.
- `lora` trains the start's adapter further if rank, alpha, targets and layers are equal. Otherwise the start's
  adapter is merged into weights of this contender's own, which take as much space as the base. `full` always merges
  it.
- The start's head is kept if it is of the kind that `head:` asks for.
- After a change of the start's options, the start and all contenders that start from it are fitted again.
- If the start fails, the contender is marked `its start NAME failed`, and the run continues with the others.
- A contender's seconds are its own. The seconds of its start are reported beside them (`start_seconds`).
"""

SERVER = """\
# The server's file, key by key

This page is the reference for the file of `loratory serve --config server.yaml`. How serving works:
[serving.md](serving.md). A file with two tasks:

```yaml
tasks:
  tickets: {path: runs/tickets}
  pii: {path: runs/pii}
```

Options of the command line override the file, and `--set KEY=VALUE` changes any key. Paths of tasks start at the
folder of the file; other paths start at the folder in which the server is started.
"""


def pages() -> dict[str, str]:
    """File name -> text of every generated page."""
    known, _ = collect_known_classes()
    return {
        "spec.md": _spec(known),
        "spec.schema.json": format_schema(build_spec_schema(known)),
        "cli.md": _cli(),
        "server.md": _server(),
        "evidence.md": _evidence(),
        "data.md": _data(),
        "reliability.md": _reliability(),
    }


def _data() -> str:
    """The page on examples, with the forms of annotation tools that are read, each tried in both ways."""
    rows = "\n".join(f"| {_cell(' | '.join(map(str, row)))} |".replace("\\|", "|") for row in map(_form, FORMS))
    text = (DOCS / "templates" / "data.md").read_text(encoding="utf-8")
    return MADE + text.format(forms=rows, pieces="\n".join(map(_pieces, EMBEDDED_BASES)))


def _pieces(base: str) -> str:
    """How an embedded base's tokenizer cuts everyday words, as a row of the table."""
    cut = measure_everyday_words(FastTokenizer.load(locate_base(base), None))
    return f"| {base} | " + " | ".join(f"{cut[language]:.1f}" for language in CUT_LANGUAGES) + " |"


def _form(form: Form) -> tuple[str, str, str, str, str]:
    """A tool's form, and whether `init`, and a spec that names the kind of task alone, give its examples."""
    given = make_samples(seed=1)
    wanted = [expected_answer(sample, form.task) for sample in given]
    with tempfile.TemporaryDirectory() as folder:
        name, content = form.make(given)
        file = Path(folder) / name
        file.write_text(content, encoding="utf-8", newline="")
        by = ["yes" if _read(file, form.task, by_init) == wanted else "no" for by_init in (True, False)]
    return form.tool, form.task, form.form, by[0], by[1]


def _read(file: Path, kind: str, by_init: bool) -> list[Any]:
    """The answers that are read of a file; none where it is refused, or taken for another kind of task."""
    spec = file.parent / "spec.yaml"
    try:
        if by_init:
            write_spec_for_data(str(file), spec, "forms")
        else:
            ladder = "[prompted]" if kind == "generate" else "[rules]"
            text = f"name: forms\ntask: {{kind: {kind}}}\ndata: {json.dumps(str(file))}\nladder: {ladder}\n"
            spec.write_text(text, encoding="utf-8")
        parsed = load_spec(str(spec))
        if parsed.task.kind != kind:
            return []
        rows = read_source(parsed.data, file.parent).train
        matching = match_columns(rows, parsed.task.columns, parsed.data.columns)
        return [example.answer for example in to_examples(rows, parsed.task, matching, 100_000)]
    except LoratoryError:
        return []


def _reliability() -> str:
    """The page on faults, with how often each was tried where benchmarks/results/faults.json says so.

    That file is of benchmarks/faults.py: {"machine", "faults": [{"name", "tried", "failures", "test"}, ...]}.
    """
    rows = json.loads((DOCS / "templates" / "reliability.json").read_text(encoding="utf-8"))
    faults = [
        f"| {_cell(row['fault'])} | {_cell(row['then'])} | {', '.join(f'`{test}`' for test in row['tests'])} |"
        for row in rows
    ]
    text = (DOCS / "templates" / "reliability.md").read_text(encoding="utf-8")
    return MADE + text.format(faults="\n".join(faults), tried=_tried()).rstrip() + "\n"


def _tried() -> str:
    """How often each fault was tried at the last release; nothing where that was not written down."""
    if not FAULTS.is_file():
        return ""
    known = json.loads(FAULTS.read_text(encoding="utf-8"))
    found = known["faults"]
    head = f"## How often each fault was tried\n\nBy benchmarks/faults.py, on {known['machine']['processor']}.\n"
    head += "\n| fault | tried | failures | test |\n|---|---|---|---|\n"
    rows = [f"| {_cell(row['name'])} | {row['tried']:,} | {row['failures']:,} | `{row['test']}` |" for row in found]
    return head + "\n".join(rows)


def _evidence() -> str:
    """The page on the verdict, with its cases and with what benchmarks/evidence.py found."""
    found = json.loads(CLAIMS.read_text(encoding="utf-8"))
    cases = "\n".join(f"| {case.name} | {_cell(case.description)} |" for case in HEADLINE_CASES)
    minutes = sum(found["seconds"].values()) / 60
    machine = f"Made in {minutes:.0f} minutes on {found['machine']['processor']}."
    text = (DOCS / "templates" / "evidence.md").read_text(encoding="utf-8")
    return MADE + text.format(cases=cases, claims="\n".join(map(_claim, found["claims"])), machine=machine)


def _claim(row: Mapping[str, Any]) -> str:
    """A claim as a row: shares of worlds in percent, other amounts with their unit."""
    percent = row["unit"] == "share of worlds"
    scale, unit = (100, " %") if percent else (1, f" {row['unit']}")
    seen, low, high = (f"{scale * row[key]:.3g}" for key in ("seen", "low", "high"))
    within = f" [{low}, {high}]" if row["low"] < row["high"] else ""
    missed = "" if row["holds"] else " MISSED"
    promised = f"{row['bound']} {scale * row['promised']:g}{unit}"
    return f"| {_cell(row['name'])} | {promised} | {seen}{within}{missed} | {row['worlds']:,} |"


def _server() -> str:
    parts = [MADE + SERVER, _section("The file", ServerSpec), _section("A task under `tasks`", ServedTaskSpec)]
    return "\n".join([*parts, _section("`limits`", LimitsSpec)])


def _spec(known: KnownClasses) -> str:
    parts = [MADE + SPEC.format(frame="\n".join(f"| `{key}` | {_cell(text)} |" for key, text in SECTION_HELP.items()))]
    for name, cls in known.tasks.items():
        parts.append(_section(f"`task: {{kind: {name}}}`", cls))
        rows = "".join(
            f"| `{key}` | text | {'required, or guessed' if column.required else 'none'} | {_cell(column.help)} |\n"
            for key, column in cls.columns.items()
        )
        parts.append(f"Its columns, as keys of `data:`; the value is the name of a column in the file.\n\n{HEAD}{rows}")
    parts.append(_section("`data`", DataSpec, leave="columns"))
    parts.append(_section("`data: split`", SplitSpec))
    parts.append(LADDER.format(base=DEFAULT_BASE))
    parts += [_section(f"`{name}`", cls, about=True) for name, cls in known.regimes.items()]
    parts += [_section("`loss` of a trained regime", LossSpec), _objectives()]
    parts.append(_section("`consistency` of a trained regime", ConsistencySpec))
    parts.append(_section("`writing` of a regime whose base writes", GenerationSpec))
    parts.append(_checks())
    parts.append(_section("`training`", TrainingSpec))
    parts += [_section("`operating`", OperatingSpec), _section("A threshold", ThresholdSpec)]
    parts += [_section("`operating: abstain`", AbstainSpec), _section("`evidence`", EvidenceSpec)]
    parts += [_section("`stress`", StressSpec), _perturbations(), _section("`gate`", GateSpec)]
    parts += [_section("`serve`", ServeSpec)]
    parts += [_section(f"`track: {{to: {name}}}`", one.Options) for name, one in known.trackers.items()]
    parts += [_section("A floor in the gate", Floor), _section("A ceiling in the gate", Ceiling)]
    return "\n".join(parts)


def _section(title: str, cls: type[BaseModel], *, about: bool = False, leave: str = "") -> str:
    fields = {name: field for name, field in cls.model_fields.items() if name not in (leave, "kind")}
    rows = "".join(
        f"| `{name}` | {_cell(describe_allowed(field))} | {_default(field)} | {_cell(field.description or '')} |\n"
        for name, field in fields.items()
    )
    regime: Any = cls
    starts = f" Starts from: {', '.join(regime.starts)}." if about else ""
    said = " ".join((cls.__doc__ or "").split())
    return f"## {title}\n\n{said}{starts}\n\n" + (HEAD + rows if rows else "No options.\n")


def _rows(group: str) -> str:
    rows = ""
    for name in list_names(group):
        one = load_named(group, name)
        options = getattr(one, "model_fields", {})
        said = "; ".join(f"`{key}` ({describe_allowed(field)}): {field.description}" for key, field in options.items())
        rows += f"| `{name}` | {_cell(' '.join((one.__doc__ or '').split()))} | {_cell(said) or 'none'} |\n"
    return rows


def _objectives() -> str:
    return (
        "## Objectives, in `objective` of `loss`\n\nA package can add objectives in the entry-point group "
        "`loratory.objectives`: [extending/objectives.md](extending/objectives.md).\n\n"
        "| objective | what it is | options |\n|---|---|---|\n" + _rows("objectives")
    )


def _perturbations() -> str:
    return (
        "## Perturbations, in `of` of `stress` and `consistency`\n\nA package can add perturbations in the entry-point "
        "group `loratory.perturbations`: [extending/perturbations.md](extending/perturbations.md).\n\n"
        "| perturbation | what it does | options |\n|---|---|---|\n" + _rows("perturbations")
    )


def _checks() -> str:
    return (
        "## `checks` of `task: {kind: generate}`\n\nEach check gives an answer a share of 1. A package can add checks "
        "in the entry-point group `loratory.checks`: [extending/checks.md](extending/checks.md).\n\n"
        "| check | what it measures | options |\n|---|---|---|\n" + _rows("checks")
    )


def _plain(value: Any) -> Any:
    return value.model_dump() if isinstance(value, BaseModel) else str(value)


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, BaseModel):
        return "see below"
    return "none" if value is None else f"`{json.dumps(value, default=_plain)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _cli() -> str:
    intro = (DOCS / "templates" / "cli.md").read_text(encoding="utf-8")
    shown = [f"## loratory\n\n```text\n{help_of(())}```\n"]
    shown += [f"## loratory {verb.NAME}\n\n```text\n{help_of((verb.NAME,))}```\n" for verb in VERBS]
    return MADE + intro + "\n" + "\n".join(shown)


def help_of(words: tuple[str, ...]) -> str:
    """The help text of a command, as on a terminal 80 characters wide."""
    environment: Mapping[str, str] = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    done = CliRunner().invoke(app, [*words, "--help"], env=environment, prog_name="loratory")
    return "".join(f"{line.rstrip()}\n" for line in done.output.strip("\n").split("\n"))


def main() -> int:
    """Write the pages, or compare them."""
    made = pages()
    if "--check" in sys.argv[1:]:
        old = [name for name, text in made.items() if not _same(DOCS / name, text)]
        sys.stderr.write("".join(f"docs/{name} is out of date: python docs/generate.py\n" for name in old))
        return 1 if old else 0
    for name, text in made.items():
        (DOCS / name).write_text(text, encoding="utf-8")
    return 0


def _same(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
