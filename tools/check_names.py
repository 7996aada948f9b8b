"""Names that stand apart from the house's: functions that are no verbs, and words that were replaced by the field's.

python tools/check_names.py [FOLDER ...]      prints each place, and ends with 1 where there is one (make names)
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HOME = Path(__file__).parent.parent
PARTICIPLE = re.compile(r"_?([a-z]+_)*[a-z]*(ed|ught|ept|old|eard|made|found|built|given|taken|written|known|shown)")
VERBS = frozenset(  # that end like participles, and nouns and adjectives that do
    "need feed seed speed embed fold hold unfold scaffold threshold proceed exceed bleed shed shared red thread "
    "spread add "
    "old is_old bold build_scaffold reseed refold cancelled".split()
)
OLD_WORDS = frozenset(  # that the field's words replaced; each as a whole word of a name: dashboard is no board
    "trunk trunks lane lanes desk scribe pen lesson lessons wording wordings asking asked board wish wishes telling "
    "floors manner mixture guest guests seating remembered headed operated stepwise shelf speaker finder finders aloud "
    "freely cascade nursery crowd".split()
)
OLD_NAMES = frozenset("judge staged voice bench standing served refusal odds hands".split())  # old as a whole name only
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")  # of snake_case and CamelCase
VAGUE = frozenset(
    {"LEAST", "MOST", "SAID", "ONE", "ENOUGH", "SURE", "SLOW", "MUCH", "FEW", "MANY", "LONGEST", "LARGEST"}
)
PROPERTIES = ("property", "cached_property", "setter", "fixture")  # of a test: it is read like a value
Named = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def check_names(file: Path) -> Iterator[str]:
    """What is wrong with the names that a file defines, a line each."""
    if found := find_old_words(file.stem):
        yield f"{file}: a module named with the old word {found}"
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        line = f"{file}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and is_participle(node):
            yield f"{line}: {node.name}: a function is a verb"
        if isinstance(node, Named) and (found := find_old_words(node.name)) and not is_test(node.name):
            yield f"{line}: {node.name}: the old word {found}"
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id.lstrip("_") in VAGUE:
            yield f"{line}: {node.id}: of what?"


def find_old_words(name: str) -> str:
    """The old words of a name, with commas; nothing where there is none."""
    words = [word.lower() for word in WORD.findall(name)]
    return ", ".join(word for word in words if word in OLD_WORDS or (word in OLD_NAMES and len(words) == 1))


def is_test(name: str) -> bool:
    """Whether a name is a sentence of a test, in which words are plain English."""
    return name.startswith("test_")


def is_participle(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function's only or last word is a participle; what reads like a field may be one."""
    called = [one.func if isinstance(one, ast.Call) else one for one in node.decorator_list]
    decorators = {getattr(one, "id", getattr(one, "attr", "")) for one in called}
    name = node.name.strip("_")
    return (
        not decorators & set(PROPERTIES) and name not in VERBS and bool(PARTICIPLE.fullmatch(name)) and "_" not in name
    )


def main() -> int:
    """Print what is wrong below the folders that are named, by default src, benchmarks and tests."""
    folders = [Path(name) for name in sys.argv[1:]] or [HOME / "src", HOME / "benchmarks", HOME / "tests"]
    found = [line for folder in folders for file in sorted(folder.rglob("*.py")) for line in check_names(file)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
