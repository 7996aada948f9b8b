"""The text of an answer while it is written: whole characters, told as soon as it is certain that they belong to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

REPLACEMENT_CHARACTER = "\ufffd"  # what a tokenizer makes of bytes that are no character, or not one yet


@dataclass
class Detokenizer:
    """What is told, piece by piece, is the text; nothing of a stop string or of what follows it is ever told.

    The ids that spelled the last piece are read again with the ones behind them, which may need them as context, so a
    text takes time in proportion to its length.
    """

    decode: Callable[[Sequence[int]], str]
    stop_strings: tuple[str, ...] = ()
    on_token: Callable[[str], None] | None = None
    pieces: list[str] = field(default_factory=list)
    _held: str = ""  # certain characters that may be the beginning of a stop string
    _prefix_offset: int = 0  # where the ids begin that are read again,
    _prefix_length: int = 0  # how many of their characters are known,
    _read_offset: int = 0  # and where those behind the last piece begin

    @property
    def text(self) -> str:
        """All that was told."""
        return "".join(self.pieces)

    def update(self, ids: Sequence[int], final: bool = False) -> str:
        """Tell what has become certain, or with `final` all that is left.

        Returns what ends the text here: "stop", "abandoned" where the listener raised an error, or "".
        """
        self._held += self._decode_new(ids, final)
        starts = [start for stop in self.stop_strings if stop and (start := self._held.find(stop)) >= 0]
        size = min(starts) if starts else len(self._held) - (0 if final else self._count_held_back())
        piece, self._held = self._held[:size], self._held[size:]
        heard = self._emit(piece)
        return "abandoned" if not heard else "stop" if starts else ""

    def _emit(self, piece: str) -> bool:
        """Whether the listener took it."""
        try:
            if piece and self.on_token is not None:
                self.on_token(piece)
        except Exception:  # whose it is: its neighbours in the batch go on
            return False
        self.pieces.append(piece)
        return True

    def _decode_new(self, ids: Sequence[int], final: bool) -> str:
        """Characters that are new. Bytes at the end that spell none may be the beginning of one."""
        text = self.decode(ids[self._prefix_offset :])
        certain = text if final else text.rstrip(REPLACEMENT_CHARACTER)
        new = certain[self._prefix_length :]
        self._prefix_length += len(new)
        if new and certain == text:
            self._prefix_offset, self._read_offset = self._read_offset, len(ids)
            self._prefix_length = len(self.decode(ids[self._prefix_offset :]))
        return new

    def _count_held_back(self) -> int:
        """How many characters at the end could begin a stop string."""
        most = min(max(map(len, self.stop_strings), default=1) - 1, len(self._held))
        ends = (
            size
            for size in range(most, 0, -1)
            if any(stop.startswith(self._held[-size:]) for stop in self.stop_strings)
        )
        return next(ends, 0)
