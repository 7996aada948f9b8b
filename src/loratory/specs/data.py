"""`data:` where the examples are and how they are split."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SplitSpec(BaseModel):
    """Shares of the examples; the rest is train. A part whose file is given takes no share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    test: float = Field(0.2, gt=0, lt=1, description="share of the examples locked away as the test set")
    validation: float = Field(0.1, gt=0, lt=1, description="share for early stopping and every choice")
    calibration: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="share kept for temperature and thresholds; left out: 0.1 where `operating:` stands, which alone "
        "uses it, else 0",
    )
    seed: int = Field(6, ge=0, description="seed of the split")

    @model_validator(mode="after")
    def _check_train_share(self) -> Self:
        if self.test + self.validation + (self.calibration or 0.0) > 0.9:
            raise ValueError("test + validation + calibration leave less than 0.1 for train")
        return self


DEFAULT_CALIBRATION_SHARE = 0.1  # share of the calibration part where it is used and the spec does not say


class DataSpec(BaseModel):
    """Files and options. The task's own columns (text, label, group ...) stand beside these in the YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(
        description="a CSV, TSV, Excel, JSON, JSONL, Parquet, Arrow or CoNLL file (text formats .gz too), a folder "
        "with train/test files or one that save_to_disk wrote, or a hub id"
    )
    config: str | None = Field(None, description="configuration (subset) of a data set of the hub")
    revision: str | None = Field(
        None, description="branch, tag or commit of a data set of the hub; a commit is read again as it was"
    )
    sheet: str | None = Field(None, description="sheet of an Excel workbook; the first that holds rows when left out")
    test: str | None = Field(None, description="a test file of its own; respected, never mended")
    validation: str | None = Field(None, description="a validation file of its own")
    columns: dict[str, str] = Field(
        default_factory=dict, description="task column -> column in the file (dots reach into objects and JSON text)"
    )
    extras: dict[str, str] = Field(
        default_factory=dict,
        description="name -> column in the file: what examples carry beside the task's own columns, for the scorers "
        "and regimes that read it",
    )
    encoding: str = Field("utf-8", description="encoding of text files")
    max_characters: int = Field(100_000, ge=1, description="a longer text is an error")
    near_duplicates: float = Field(
        0.85,
        gt=0,
        le=1,
        description="similarity from which two texts are near-duplicates and share a group: Jaccard of their character "
        "n-grams or, in texts of 16 to 100 characters, 1 - edit distance / length (never below 0.85); accents, "
        "look-alike letters, characters without width and signs do not count, numbers only where fewer than five words "
        "stand beside each; 1: only texts that are the same then",
    )
    duplicates: Literal["join", "report"] = Field(
        "join",
        description="join: near-duplicates share a group, which no split cuts (of texts that are alike by edits alone "
        "at most 10); report: only the group column decides, and near-duplicates in two parts are reported (for "
        "documents that share their standard sentences)",
    )
    suspects: bool = Field(True, description="look for suspected wrong labels in train (out-of-fold disagreement)")
    clean: bool = Field(
        False,
        description="leave suspected wrong labels out of train (never of the other parts); split.json lists them. "
        "Nothing is left out where the model that disputes them is right on less than 85 % of texts it has not seen",
    )
    split: SplitSpec = Field(default_factory=SplitSpec)

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
