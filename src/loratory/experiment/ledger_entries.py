"""What the ledger of test reads is told of a run."""

from __future__ import annotations

from collections.abc import Iterable

from loratory.data.splitting import ledger
from loratory.experiment.run_context import RunContext
from loratory.experiment.run_paths import RunPaths


def make_test_read(context: RunContext, paths: RunPaths, purpose: str, read_names: Iterable[str]) -> ledger.TestReader:
    """The entry of one reading of the test set by a run; `read_names` say what was looked at."""
    return ledger.TestReader(context.spec.name, str(paths.folder.resolve()), purpose, frozenset(read_names))


def compute_test_row_keys(context: RunContext) -> ledger.RowKeys:
    """The keys by which the ledger knows the rows of a run's test set."""
    return ledger.compute_row_keys(context.split.parts.test.texts)
