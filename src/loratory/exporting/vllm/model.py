"""The folder for vLLM, opened with stock transformers and PEFT: the adapter beside the base's weights, not merged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from loratory.errors import ArtifactError
from loratory.exporting.stock_models import StockModel
from loratory.exporting.vllm.layout import REQUEST_FILE


class _WholePrompts:
    """A tokenizer that adds to a prompt what the request says, and no more."""

    model_max_length = 1_000_000  # prompts are whole: nothing is cut

    def __init__(self, folder: Path, add_special_tokens: bool) -> None:
        import transformers

        self._tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        self._add = add_special_tokens

    @property
    def pad_token_id(self) -> int | None:
        """Fills short rows."""
        found: int | None = self._tokenizer.pad_token_id
        return found

    def __call__(self, text: str, **_: object) -> dict[str, Any]:
        made = self._tokenizer(text, add_special_tokens=self._add, return_offsets_mapping=True)
        return {"input_ids": made["input_ids"], "offset_mapping": made["offset_mapping"]}


def open_adapter_folder(folder: Path) -> StockModel:
    """The adapter over `base/`; a text is a whole prompt. Raises ArtifactError where the base was not copied."""
    if not (folder / "base" / "config.json").is_file():
        raise ArtifactError(
            "an adapter answers over its base alone, which was not copied",
            where=str(folder),
            allowed="a folder with base/",
            remedy="export without --set include_base=false",
        )
    import transformers

    request = json.loads((folder / REQUEST_FILE).read_text(encoding="utf-8"))
    opener: Any = transformers.AutoModelForCausalLM
    model = opener.from_pretrained(
        str(folder / "base"), trust_remote_code=False, use_safetensors=True, dtype=torch.float32
    )
    model.load_adapter(str(folder / "adapter"))
    return StockModel(model.eval(), _WholePrompts(folder / "base", request["add_special_tokens"]), ())
