"""How much of the source says what it takes and does: parameters that are Any, and docstrings, by folder.

python tools/check_types.py [FOLDER] [--any SHARE] [--docstrings SHARE]      ends with 1 past a limit (make names)

A parameter counts where it is annotated with bare `Any` (`*args` and `**kwargs` do not). A docstring is asked of public
modules' functions, classes and methods; not of properties that a name explains, of what overrides a protocol's method
(it is documented there), of validators and of names with an underscore.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "loratory"
Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


@dataclass
class Figures:
    """Counts of one folder, and where what is missing stands."""

    parameters: int = 0
    any_parameters: list[str] = field(default_factory=list)
    definitions: int = 0
    undocumented: list[str] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        """Count another folder's too."""
        self.parameters += other.parameters
        self.any_parameters += other.any_parameters
        self.definitions += other.definitions
        self.undocumented += other.undocumented

    @property
    def any_share(self) -> float:
        return len(self.any_parameters) / max(self.parameters, 1)

    @property
    def docstring_share(self) -> float:
        return 1 - len(self.undocumented) / max(self.definitions, 1)


def count_file(file: Path) -> Figures:
    """The figures of one file."""
    tree, figures = ast.parse(file.read_text(encoding="utf-8")), Figures()
    for node in ast.walk(tree):
        if isinstance(node, Function):
            for parameter in iterate_parameters(node):
                figures.parameters += 1
                if parameter.annotation is not None and ast.unparse(parameter.annotation) == "Any":
                    figures.any_parameters.append(f"{file}:{parameter.lineno}: {node.name}: {parameter.arg}")
    for node, name in iterate_public(tree.body, "", False):
        figures.definitions += 1
        if ast.get_docstring(node) is None:
            figures.undocumented.append(f"{file}:{node.lineno}: {name}")
    return figures


def iterate_parameters(node: Function) -> Iterator[ast.arg]:
    """A function's parameters without self and cls."""
    for parameter in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        if parameter.arg not in ("self", "cls"):
            yield parameter


def iterate_public(body: list[ast.stmt], prefix: str, in_class: bool) -> Iterator[tuple[Definition, str]]:
    """Public functions and classes of a module, and the methods that are no part of a protocol that others document."""
    for node in body:
        if not isinstance(node, Definition) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            yield node, f"{prefix}{node.name}"
            yield from iterate_public(node.body, f"{prefix}{node.name}.", True)
        elif not in_class or not (explains_itself(node) or node.name in PROTOCOL_METHODS):
            yield node, f"{prefix}{node.name}"


def explains_itself(node: Function) -> bool:
    """Whether a method is a property of one line or a stub, which its name and type explain."""
    decorators = {getattr(one, "id", getattr(one, "attr", "")) for one in node.decorator_list}
    return bool(decorators & {"property", "cached_property", "setter", "overload"})


def list_protocol_methods(folder: Path) -> frozenset[str]:
    """The names of all methods that a protocol of loratory.protocols has: what implements them need not repeat them."""
    names: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and any("Protocol" in ast.unparse(base) for base in node.bases):
                names |= {one.name for one in node.body if isinstance(one, Function)}
    return frozenset(names)


PROTOCOL_METHODS = list_protocol_methods(SOURCE / "protocols")


def main() -> int:
    """Print the figures by folder, and what passes a limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=SOURCE)
    parser.add_argument("--any", type=float, default=1.0, help="share of parameters that may be Any")
    parser.add_argument("--docstrings", type=float, default=0.0, help="share of public definitions with a docstring")
    parser.add_argument("--list", action="store_true", help="name each place")
    options = parser.parse_args()
    folders: dict[str, Figures] = {}
    for file in sorted(options.folder.rglob("*.py")):
        folders.setdefault(file.relative_to(options.folder).parts[0], Figures()).add(count_file(file))
    whole = Figures()
    for figures in folders.values():
        whole.add(figures)
    for name, figures in [*folders.items(), ("all", whole)]:
        print(format_figures(name, figures))
    if options.list:
        print("\n".join([*whole.any_parameters, *whole.undocumented]))
    return int(whole.any_share > options.any or whole.docstring_share < options.docstrings)


def format_figures(name: str, figures: Figures) -> str:
    """One folder in a line."""
    bare, told = 100 * figures.any_share, 100 * figures.docstring_share
    return (
        f"{name:<16} Any {len(figures.any_parameters):4d} of {figures.parameters:5d} parameters ({bare:4.1f} %)"
        f"   docstrings {told:5.1f} % of {figures.definitions}"
    )


if __name__ == "__main__":
    sys.exit(main())
