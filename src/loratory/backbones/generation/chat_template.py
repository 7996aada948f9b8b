"""Prompts under a base's own chat template, as token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loratory.backbones.loading.tokenizers import replace_surrogates
from loratory.errors import BaseModelError
from loratory.protocols import TokenIds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ChatMessage = Mapping[str, str]  # role: system, user or assistant; content
PROBE_ANSWER = "Yes, 17."  # an answer that any template hands through unchanged
# For a base without a template: the texts one under another. A fit teaches it what that means.
PLAIN_TEMPLATE = "{% for message in messages %}{{ message['content'] }}\n\n{% endfor %}"


@dataclass(frozen=True)
class ChatTemplate:
    """A base's way of writing a conversation. `end` is the token that ends an answer."""

    tokenizer: Any  # transformers' own
    end_token_id: int
    has_template: bool  # False: the base has no chat template
    supports_thinking: bool  # the template knows enable_thinking, which is switched off
    supports_system: bool  # the template takes a system message
    answer_prefix: str  # white space that the template puts before an answer

    @classmethod
    def from_tokenizer(cls, tokenizer: PreTrainedTokenizerFast, name: str) -> ChatTemplate:
        """Try the template on a short conversation; raises BaseModelError where an answer does not come through it."""
        templated = bool(getattr(tokenizer, "chat_template", None))
        asked = [{"role": "user", "content": "Are there 17?"}]
        for thinks in (True, False):
            chat = cls(tokenizer, -1, templated, thinks, True, "")
            prompt = chat.render(asked)
            whole = chat.render([*asked, {"role": "assistant", "content": PROBE_ANSWER}], add_generation_prompt=False)
            lead, found, tail = whole.removeprefix(prompt).partition(PROBE_ANSWER)
            if found and whole.startswith(prompt) and not lead.strip():
                return cls(
                    tokenizer, chat._find_end_token(tail), templated, thinks, chat._detect_system_support(), lead
                )
        raise BaseModelError(
            f"the chat template of {name!r} does not hand an answer through: a prompt with the answer behind it is not "
            "what the template makes of the whole conversation",
            where="tokenizer: chat_template",
            allowed="a template whose prompt (add_generation_prompt) is the beginning of the answered conversation",
            remedy="repair the template in a copy of the base, or choose another base",
        )

    def _find_end_token(self, tail: str) -> int:
        """The first special token behind an answer, else the tokenizer's end of a text."""
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        for token in self.tokenizer(tail, add_special_tokens=False)["input_ids"]:
            if token in special:
                return int(token)
        if self.tokenizer.eos_token_id is None:
            raise BaseModelError("its tokenizer has no token that ends a text", allowed="eos_token")
        return int(self.tokenizer.eos_token_id)

    def _detect_system_support(self) -> bool:
        said = "Answer in seven words."
        try:
            return said in self.render([{"role": "system", "content": said}, {"role": "user", "content": "Well?"}])
        except Exception:  # templates raise what they like, jinja2.TemplateError among others
            return False

    def render(self, messages: Sequence[ChatMessage], add_generation_prompt: bool = True) -> str:
        """The conversation as the template writes it; with `answer` it ends where the assistant is to speak."""
        options = {"enable_thinking": False} if self.supports_thinking else {}
        own = None if self.has_template else PLAIN_TEMPLATE
        made: str = self.tokenizer.apply_chat_template(
            list(messages), chat_template=own, tokenize=False, add_generation_prompt=add_generation_prompt, **options
        )
        return made

    def render_prompt(self, messages: Sequence[ChatMessage]) -> str:
        """A conversation that the assistant is to answer. What people wrote cannot speak as the template."""
        safe = [{**message, "content": self.escape_special_tokens(message["content"])} for message in messages]
        if not self.supports_system and safe[0]["role"] == "system":
            first, *rest = safe
            safe = [{**rest[0], "content": f"{first['content']}\n\n{rest[0]['content']}"}, *rest[1:]]
        return self.render(safe)

    def encode_prompt(self, messages: Sequence[ChatMessage]) -> TokenIds:
        """Ids of `render_prompt`."""
        ids = self.tokenizer(self.render_prompt(messages), add_special_tokens=not self.has_template)["input_ids"]
        return tuple(self._strip_end_token(ids))

    def _strip_end_token(self, ids: list[int]) -> list[int]:
        """Some tokenizers put an end token behind whatever they are given."""
        closes = not self.has_template and ids and ids[-1] == self.tokenizer.eos_token_id
        return ids[:-1] if closes else ids

    def encode_answer(self, text: str) -> TokenIds:
        """Ids of an answer, its end among them."""
        return (
            *self.tokenizer(self.answer_prefix + self.escape_special_tokens(text), add_special_tokens=False)[
                "input_ids"
            ],
            self.end_token_id,
        )

    def escape_special_tokens(self, text: str) -> str:
        """The text with a zero-width space inside what spells a special token, or one that the template writes."""
        text, template = replace_surrogates(text), str(self.tokenizer.chat_template or "")
        for token in self.tokenizer.added_tokens_decoder.values():
            word = str(token.content)
            if word in text and len(word) > 1 and (token.special or word in template):
                text = text.replace(word, f"{word[0]}\u200b{word[1:]}")
        return text
