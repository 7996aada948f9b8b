"""What no stock class can carry, and so stays behind."""

from __future__ import annotations

from loratory.artifacts.verified_files import VerifiedFiles
from loratory.predictors.calibrated import OPERATING_POINT_FILE
from loratory.predictors.span_rules import SPAN_RULES_FILE

POINT_NOT_EXPORTED = (
    "the fit's operating point stays behind: stock classes know no temperature, threshold or abstention"
)
SPAN_RULES_NOT_EXPORTED = (
    "the fit's validators stay behind: stock classes give what the head says of a text, and no more"
)
POINT_ONLY_IN_LORATORY = (
    "stock classes know no temperature, threshold or abstention: loratory alone answers at the fit's point"
)
SPAN_RULES_ONLY_IN_LORATORY = (
    "stock classes give what the head says of a text: loratory alone adds what validators find"
)


def describe_omissions(fit: VerifiedFiles) -> list[str]:
    """Of an export that holds no files of ours."""
    return _select_texts(fit, POINT_NOT_EXPORTED, SPAN_RULES_NOT_EXPORTED)


def describe_stock_omissions(fit: VerifiedFiles) -> list[str]:
    """Of an export that is an artifact of ours too: its stock folders answer without them."""
    return _select_texts(fit, POINT_ONLY_IN_LORATORY, SPAN_RULES_ONLY_IN_LORATORY)


def _select_texts(fit: VerifiedFiles, point: str, span_rules: str) -> list[str]:
    return [text for file, text in ((OPERATING_POINT_FILE, point), (SPAN_RULES_FILE, span_rules)) if fit.has(file)]
