"""Faults of exported forms, planted on purpose, to count what a certificate finds (benchmarks/parity.py)."""

from planted_faults.digest_faults import DIGEST_FAULTS
from planted_faults.faults import PlantedFault, find_kind, select_faults
from planted_faults.folders import ExportedFolder
from planted_faults.graph_faults import GRAPH_FAULTS
from planted_faults.head_faults import HEAD_FAULTS
from planted_faults.tokenizer_faults import TOKENIZER_FAULTS
from planted_faults.weight_faults import WEIGHT_FAULTS
from planted_faults.writer_faults import WRITER_FAULTS

PLANTED_FAULTS = (
    *TOKENIZER_FAULTS,
    *WEIGHT_FAULTS,
    *HEAD_FAULTS,
    *GRAPH_FAULTS,
    *WRITER_FAULTS,
    *DIGEST_FAULTS,
)

__all__ = ["PLANTED_FAULTS", "ExportedFolder", "PlantedFault", "find_kind", "select_faults"]
