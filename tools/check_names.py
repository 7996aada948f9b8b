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
    "old is_old bold build_scaffold".split()
)
OLD = re.compile(
    r"(Torch|Live)?Trunks?|Lane|Desk|Scribe|Pen|Lessons|Wording|Asking|Asked|Board|Wish|Telling|Hands|Manner|Mixture|Floors"
    r"|Remembered|Headed|Operated|Judge|Staged|Stepwise|Shelf|Voice|Speaker|Guest|Seating|Bench|Standing|Served|Refusal"
)
VAGUE = frozenset({"LEAST", "MOST", "SAID", "ONE", "ENOUGH", "SURE", "SLOW", "MUCH", "FEW", "MANY"})
PROPERTIES = ("property", "cached_property", "setter")


def check_names(file: Path) -> Iterator[str]:
    """What is wrong with the names that a file defines, a line each."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        line = f"{file}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and is_participle(node):
            yield f"{line}: {node.name}: a function is a verb"
        if isinstance(node, ast.ClassDef) and OLD.fullmatch(node.name.lstrip("_")):
            yield f"{line}: class {node.name}: an old word"
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id.lstrip("_") in VAGUE:
            yield f"{line}: {node.id}: of what?"


def is_participle(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a function's only or last word is a participle; what reads like a field may be one."""
    decorators = {getattr(one, "id", getattr(one, "attr", "")) for one in node.decorator_list}
    name = node.name.strip("_")
    return (
        not decorators & set(PROPERTIES) and name not in VERBS and bool(PARTICIPLE.fullmatch(name)) and "_" not in name
    )


def main() -> int:
    """Print what is wrong below the folders that are named, by default src and benchmarks."""
    folders = [Path(name) for name in sys.argv[1:]] or [HOME / "src", HOME / "benchmarks"]
    found = [line for folder in folders for file in sorted(folder.rglob("*.py")) for line in check_names(file)]
    print("\n".join(found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
