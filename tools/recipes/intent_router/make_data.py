"""Write questions.jsonl from the authored subjects and frames, byte for byte the same on every run.

A subject is a term with its noun and one fact (subjects_*.yaml); frames.yaml asks about it. A problem is a question
with numbers or a little story, and a group of its own; so are all questions about one subject. Run it as
`python tools/recipes/intent_router/make_data.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parent
RECIPE_FOLDER = FOLDER.parents[2] / "src" / "loratory" / "bundled_recipes" / FOLDER.name  # where the data is written
SEED = 20264
COMMON_FRAMES = 2  # questions in common frames about each subject
EXTRA_FRAME_SHARE = 0.3  # of subjects that are asked about in one more
OWN_FRAME_SHARE = 0.4  # of subjects that are asked about in a frame of their category too
NUMBER_RANGES = {"a": (12, 48), "b": (5, 11), "c": (2, 4), "d": (50, 95)}
EVEN_RANGE = (12, 46)  # numbers of chromosomes
NAMES = "Amara Boris Chiara Dilan Edith Farid Gwen Hana Ivo Jamila Karim Lotte Maya Niall Oskar Petra".split()


@dataclass(frozen=True)
class Subject:
    """One term, what it is, and a fact about it."""

    category: str
    term: str
    noun: str
    clause: str
    person: bool


@dataclass(frozen=True)
class Question:
    """One question; those of one group never cross a split."""

    text: str
    label: str
    group: str


def read_yaml(path: Path) -> Any:
    """Read one YAML file."""
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def read_subjects(folder: Path = FOLDER) -> list[Subject]:
    """The subjects of all categories, in the order of the files."""
    subjects = []
    for path in sorted(folder.glob("subjects_*.yaml")):
        for category, lines in read_yaml(path).items():
            for line in lines.strip().splitlines():
                term, noun, clause = (part.strip() for part in line.split(" | "))
                subjects.append(Subject(category, term, noun.removeprefix("@"), clause, noun.startswith("@")))
    return subjects


def capitalize(text: str) -> str:
    """The text with a capital letter at its start."""
    return text[:1].upper() + text[1:]


def fill_frame(frame: str, subject: Subject, random: Random) -> str:
    """One question about a subject."""
    first, second = random.sample(NAMES, 2)
    return frame.removeprefix("~").format(
        term=subject.term,
        Term=capitalize(subject.term),
        noun=subject.noun,
        clause=subject.clause,
        first=first,
        second=second,
    )


def make_subject_questions(subject: Subject, frames: dict[str, Any]) -> Iterator[str]:
    """The questions about one subject."""
    random = Random(f"{SEED}/{subject.category}/{subject.term}")
    common = [frame for frame in frames["common"] if not (subject.person and frame.startswith("~"))]
    chosen = random.sample(common, COMMON_FRAMES + (random.random() < EXTRA_FRAME_SHARE))
    if not subject.person and random.random() < OWN_FRAME_SHARE:
        chosen.append(random.choice(frames["own"][subject.category]))
    for frame in chosen:
        yield fill_frame(frame, subject, random)


def fill_problem(problem: str, category: str, number: int) -> str:
    """A problem with its numbers."""
    random = Random(f"{SEED}/{category}/problem-{number}")
    values = {name: random.randint(*bounds) for name, bounds in NUMBER_RANGES.items()}
    return problem.format(e=2 * random.randint(EVEN_RANGE[0] // 2, EVEN_RANGE[1] // 2), **values)


def make_questions(folder: Path = FOLDER) -> list[Question]:
    """All questions in their fixed shuffled order; a text that came before is left out."""
    frames = read_yaml(folder / "frames.yaml")
    found: dict[str, Question] = {}
    for subject in read_subjects(folder):
        for text in make_subject_questions(subject, frames):
            group = f"{subject.category}/{subject.term}"
            found.setdefault(text.lower(), Question(text, subject.category, group))
    for category, problems in frames["problems"].items():
        for number, problem in enumerate(problems, 1):
            text = fill_problem(problem, category, number)
            found.setdefault(text.lower(), Question(text, category, f"{category}/problem-{number}"))
    questions = list(found.values())
    Random(SEED).shuffle(questions)
    return questions


def to_json_line(question: Question) -> str:
    """Write one question as one JSON line."""
    record = {"text": question.text, "label": question.label, "group": question.group}
    return json.dumps(record, ensure_ascii=False) + "\n"


def main() -> None:
    """Write questions.jsonl of the recipe."""
    lines = [to_json_line(question) for question in make_questions()]
    (RECIPE_FOLDER / "questions.jsonl").write_text("".join(lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
