"""Prompts are files: a version, what the system says, and how an input is put; named by a digest of what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from ruamel.yaml.error import YAMLError

from loratory.artifacts.manifests import digest_of
from loratory.artifacts.untrusted_files import describe_irregular_file
from loratory.discovery import load_named
from loratory.errors import SpecError
from loratory.protocols import ChatMessage
from loratory.specs.yaml_values import parse_yaml_value
from loratory.specs.yaml_writer import dump_yaml

PROMPT_FIELDS = ("version", "system", "user")


@dataclass(frozen=True)
class Prompt:
    """Texts with {gaps}: {labels}, {names}, {options}, {schema} in `system` and `user`, {text} in `user`."""

    version: str
    system: str
    user: str

    @property
    def digest(self) -> str:
        return digest_of(asdict(self))[:16]

    @classmethod
    def load(cls, file: str | None, template_name: str) -> Self:
        """From a YAML file, or the one that belongs to a prompt template; raises SpecError."""
        if file is None:
            text = str(load_named("prompt_templates", template_name).default_prompt)
        else:
            try:
                if (kind := describe_irregular_file(Path(file))) is not None:
                    raise SpecError(f"the prompt is {kind}", where=file, allowed="a YAML file")
                text = Path(file).read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as problem:
                raise SpecError("the prompt cannot be read", where=file, remedy="check the path after prompt:") from (
                    problem
                )
        return cls.parse(text, file or template_name)

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """From YAML, which stands at `where`; raises SpecError."""
        try:
            values = parse_yaml_value(text)
        except YAMLError as problem:
            raise SpecError("the prompt is no YAML", where=where, remedy=str(problem).splitlines()[0]) from problem
        if not isinstance(values, dict) or set(values) != set(PROMPT_FIELDS):
            raise SpecError(
                "a prompt has exactly three fields",
                where=where,
                allowed=", ".join(PROMPT_FIELDS),
                remedy='for example: {version: "1", system: "Answer with one label: {names}", user: "{text}"}',
            )
        prompt = cls(*(str(values[name]).strip() for name in PROMPT_FIELDS))
        if "{text}" not in prompt.user:
            raise SpecError("the prompt does not say where the text goes", where=f"{where}: user", allowed="{text}")
        return prompt

    def fill(self, gaps: Mapping[str, str], text: str) -> list[ChatMessage]:
        """Messages. Only known gaps are filled, so that braces of JSON stand; what is filled in is not searched."""
        messages = []
        for role, form in (("system", self.system), ("user", self.user)):
            parts = form.split("{text}")
            for name, value in gaps.items():
                parts = [part.replace(f"{{{name}}}", value) for part in parts]
            content = text.join(parts)
            if content or role == "user":
                messages.append({"role": role, "content": content})
        return messages

    def save(self, file: Path) -> None:
        """As YAML that `load` reads."""
        file.write_text(dump_yaml(asdict(self)), encoding="utf-8")
