"""A scorer: a generated answer loses reward for each word beyond a limit."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from loratory.protocols import Example, Prediction, Task


class Brevity(BaseModel):
    """1 up to `words` words, then falling to 0 at `slack` words more. An extra can set the limit of an example."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: int = Field(20, ge=1, description="limit for examples without an extra named `words`")
    slack: int = Field(20, ge=1, description="words beyond the limit at which the reward is 0")

    def score(self, task: Task, example: Example, prediction: Prediction) -> float:
        if prediction.answer is None:
            return 0.0
        free = int(example.extras.get("words") or self.words)
        return min(max(1 - (len(str(prediction.answer).split()) - free) / self.slack, 0.0), 1.0)
