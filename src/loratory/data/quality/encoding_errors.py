"""Texts that were read with the wrong encoding somewhere on their way here."""

from __future__ import annotations

import re

CONTINUATION_CHARACTERS = "".join(bytes([byte]).decode("cp1252", "ignore") for byte in range(0x80, 0xC0))
# UTF-8 read as cp1252: a lead byte's letter, then one to three continuation bytes' signs. Only leads that no language
# puts before such a sign: "É»" ends a French quotation.
MOJIBAKE = re.compile(f"[ÂÃÄÅâïð][{re.escape(CONTINUATION_CHARACTERS)}]{{1,3}}")
CONTROL_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")


def find_encoding_error(text: str) -> str | None:
    """What is broken in a text: "lost characters", "mojibake", "control characters", or None."""
    if "\ufffd" in text:
        return "lost characters"
    if any(_is_utf8(match.group()) for match in MOJIBAKE.finditer(text)):
        return "mojibake"
    return "control characters" if CONTROL_CHARACTERS.search(text) else None


def _is_utf8(letters: str) -> bool:
    data = letters.encode("cp1252")
    for end in range(2, len(data) + 1):
        try:
            data[:end].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return True
    return False
