"""Draw how seedling learnt.

python pretraining/draw.py HISTORY.json PICTURE.svg
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import matplotlib.pyplot as plt
from train import ROW, ROWS_A_STEP, STEPS_AN_EPOCH


def draw(history: Path, picture: Path) -> None:
    """Loss of training rows, and of rows of held-out passages and unseen exercises, over millions of tokens."""
    rows = json.loads(history.read_text(encoding="utf-8"))["history"]
    tokens = [row["epoch"] * ROW * ROWS_A_STEP * STEPS_AN_EPOCH / 1e6 for row in rows]
    plt.rcParams["svg.hashsalt"] = "loratory"
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(tokens, [row["loss"] for row in rows], color="#777777", label="training rows")
    axes.plot(tokens, [-math.log(row["score"]) for row in rows], color="#1b6ca8", label="held-out rows")
    axes.set_xlabel("million tokens")
    axes.set_ylabel("cross-entropy of a weighed token, nats")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(picture, metadata={"Date": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
