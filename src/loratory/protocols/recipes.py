"""A recipe: a spec that runs as it is, in a package with its data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

SPEC_FILE = "spec.yaml"  # its first line is a comment: what the recipe is, for lists
README_FILE = "README.md"  # where the data is from, how it was made, its licence


class Recipe(Protocol):
    """An importable package (the entry point names it), whose folder holds SPEC_FILE, README_FILE and the data.

    Paths of data in the spec start in that folder; data that may not be shipped is named by its place on a hub.
    """

    __path__: Sequence[str]  # the package's folder comes first
