"""`data:` where the examples are and how they are split."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SplitSpec(BaseModel):
    """Shares of the examples; the rest is the training split. A split with its own file needs no share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="Share of the examples for the test split. It is locked: only the final measurement reads it.",
    )
    validation: float = Field(
        0.1, gt=0, lt=1, description="Share for early stopping and for every choice, such as the best seed."
    )
    calibration: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share for fitting temperature and thresholds. Default: 0.1 with an `operating:` section, which "
        "alone uses it, else 0.",
    )
    seed: int = Field(6, ge=0, description="Random seed of the split. Another seed gives another test split.")

    @model_validator(mode="after")
    def _check_train_share(self) -> Self:
        if self.test + self.validation + (self.calibration or 0.0) > 0.9:
            raise ValueError("test + validation + calibration leave less than 0.1 for train")
        return self


DEFAULT_CALIBRATION_SHARE = 0.1  # share of the calibration part where it is used and the spec does not say


class DataSpec(BaseModel):
    """Files and how they are read. The columns of the task (text, label, group and others) are keys beside these."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="A CSV, TSV, Excel, JSON, JSONL, Parquet, Arrow or CoNLL file (text formats also as .gz), a "
        "folder with train and test files, a folder written by save_to_disk, or a hub id."
    )
    config: str | None = Field(None, description="Configuration (subset) of a hub data set.")
    revision: str | None = Field(
        None, description="Branch, tag or commit of a hub data set. Give a commit to read the same data every time."
    )
    sheet: str | None = Field(None, description="Sheet of an Excel workbook. Default: the first sheet with rows.")
    test: str | None = Field(None, description="A separate test file. It is used as it is and never corrected.")
    validation: str | None = Field(None, description="A separate validation file.")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Task column -> column in the file. Dots reach into objects and JSON text: ticket.subject.",
    )
    extras: dict[str, str] = Field(
        default_factory=dict,
        description="Name -> column in the file. Examples carry these values for scorers and regimes that read them.",
    )
    encoding: str = Field("utf-8", description="Encoding of text files, for example cp1252.")
    max_characters: int = Field(
        100_000, ge=1, description="Maximum length of a text in characters. A longer text is an error."
    )
    near_duplicates: float = Field(
        0.85,
        gt=0,
        le=1,
        description="Similarity from which two texts are near-duplicates and share a group. It is the Jaccard "
        "similarity of character n-grams; for texts of 16 to 100 characters also 1 - edit distance / "
        "length (at least 0.85). Accents, look-alike letters, zero-width characters and punctuation are "
        "ignored; numbers count only with fewer than five words beside each. 1: only texts that are equal "
        "after this.",
    )
    duplicates: Literal["join", "report"] = Field(
        "join",
        description="join: near-duplicates stay in one split (at most 10 texts are joined by edit distance alone). "
        "report: only the group column decides, and near-duplicates across splits are reported; choose it "
        "for documents that share standard sentences.",
    )
    suspects: bool = Field(
        True, description="Search the training split for suspected label errors (out-of-fold disagreement)."
    )
    clean: bool = Field(
        False,
        description="Remove suspected label errors from the training split, never from other splits; split.json lists "
        "them. Nothing is removed if the detecting model is right on less than 85 % of texts it has not "
        "seen.",
    )
    split: SplitSpec = Field(default_factory=SplitSpec, description="Shares and seed of the split.")

    def with_calibration_share(self, has_operating_point: bool) -> Self:
        """The same with a share of the calibration part; raises ValueError where train then keeps too little."""
        if self.split.calibration is not None:
            return self
        shares = {**self.split.model_dump(), "calibration": DEFAULT_CALIBRATION_SHARE if has_operating_point else 0.0}
        return self.model_copy(update={"split": SplitSpec.model_validate(shares)})

    @model_validator(mode="after")
    def _check_clean(self) -> Self:
        if self.clean and not self.suspects:
            raise ValueError("clean leaves out what suspects finds: set suspects: true with it")
        return self
