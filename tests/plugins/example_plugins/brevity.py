"""A scorer: a written answer is worth the more, the fewer words it takes beyond what its example asks for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from loratory.protocols import Example, Prediction, Task


class Brevity(BaseModel):
    """1 up to `words`, falling to 0 at `slack` words more; an example may carry its own limit as an extra."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: int = Field(20, ge=1, description="words that cost nothing, where the example has no extra `words`")
    slack: int = Field(20, ge=1, description="words beyond them at which nothing is left")

    def score(self, task: Task, example: Example, prediction: Prediction) -> float:
        if prediction.answer is None:
            return 0.0
        free = int(example.extras.get("words") or self.words)
        return min(max(1 - (len(str(prediction.answer).split()) - free) / self.slack, 0.0), 1.0)
