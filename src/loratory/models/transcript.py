"""The text of an answer while it is written: whole characters, told as soon as it is certain that they belong to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

UNREADABLE = "\ufffd"  # what a tokenizer makes of bytes that are no character, or not one yet


@dataclass
class Transcript:
    """What is told, piece by piece, is the text; nothing of a stop string or of what follows it is ever told.

    The ids that spelled the last piece are read again with the ones behind them, which may need them as context, so a
    text takes time in proportion to its length.
    """

    read: Callable[[Sequence[int]], str]
    stops: tuple[str, ...] = ()
    hear: Callable[[str], None] | None = None
    pieces: list[str] = field(default_factory=list)
    _held: str = ""  # certain characters that may be the beginning of a stop string
    _first: int = 0  # where the ids begin that are read again,
    _spelled: int = 0  # how many of their characters are known,
    _next: int = 0  # and where those behind the last piece begin

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def follow(self, ids: Sequence[int], whole: bool = False) -> str:
        """Tell what has become certain, or all that is left where the ids are `whole`.

        What ends the text here: "stop", "abandoned" where the listener raised an error, or "".
        """
        self._held += self._characters(ids, whole)
        starts = [start for stop in self.stops if stop and (start := self._held.find(stop)) >= 0]
        size = min(starts) if starts else len(self._held) - (0 if whole else self._doubtful())
        piece, self._held = self._held[:size], self._held[size:]
        heard = self._tell(piece)
        return "abandoned" if not heard else "stop" if starts else ""

    def _tell(self, piece: str) -> bool:
        """Whether the listener took it."""
        try:
            if piece and self.hear is not None:
                self.hear(piece)
        except Exception:  # whose it is: its neighbours in the batch go on
            return False
        self.pieces.append(piece)
        return True

    def _characters(self, ids: Sequence[int], whole: bool) -> str:
        """Characters that are new. Bytes at the end that spell none may be the beginning of one."""
        text = self.read(ids[self._first :])
        certain = text if whole else text.rstrip(UNREADABLE)
        new = certain[self._spelled :]
        self._spelled += len(new)
        if new and certain == text:
            self._first, self._next = self._next, len(ids)
            self._spelled = len(self.read(ids[self._first :]))
        return new

    def _doubtful(self) -> int:
        """How many characters at the end could begin a stop string."""
        most = min(max(map(len, self.stops), default=1) - 1, len(self._held))
        ends = (size for size in range(most, 0, -1) if any(stop.startswith(self._held[-size:]) for stop in self.stops))
        return next(ends, 0)
