"""Labels and probabilities: pip install sentence-transformers; python classify.py "a text" "another text"."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

FOLDER = Path(__file__).resolve().parent
FACTS = json.loads((FOLDER / "classifier.json").read_text(encoding="utf-8"))
MODEL = SentenceTransformer(str(FOLDER))


def classify(texts: Sequence[str]) -> list[dict[str, float]]:
    """The probability of every label for each text, at the temperature that was calibrated."""
    logits = torch.as_tensor(MODEL.encode(list(texts))).double()
    rows = (logits / FACTS["temperature"]).softmax(-1).tolist()
    return [dict(zip(FACTS["labels"], row, strict=True)) for row in rows]


if __name__ == "__main__":
    for answer in classify(sys.argv[1:]):
        print(json.dumps({"label": max(answer, key=lambda label: answer[label]), "probabilities": answer}))
