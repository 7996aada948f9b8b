"""Power that is lost: what a process does to a folder is noted, and the states are made in which a crash may leave it.

The model (Pillai et al. 2014, "All File Systems Are Not Created Equal", OSDI): bytes that were not synced may be lost,
torn at any byte, or zero; names (new files, renames, removals) that no sync of their folder followed may be lost, in
the order in which they were done, or each folder's for itself.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from loratory.artifacts import manifests

Names = dict[int, dict[str, int]]  # folder -> name -> file or folder
CALLS = ("mkdir", "unlink", "rmdir")  # before and after each of them it is looked at what has changed
ROOT = 0


@dataclass(frozen=True)
class Step:
    """One thing that was done. `at` and `to` are numbers of folders; `node` of a file or folder."""

    what: str  # name, remove, rename, exchange, write, sync
    node: int
    at: int = ROOT
    name: str = ""
    to: int = ROOT
    new: str = ""
    data: bytes = field(default=b"", repr=False)  # of a write: all that the file then holds


@dataclass
class Trace:
    """What was done below a folder, by a look at it before and after each call that matters."""

    root: Path
    steps: list[Step] = field(default_factory=list)
    folders: set[int] = field(default_factory=lambda: {ROOT})
    marks: list[int] = field(default_factory=list)  # how many steps were done when something was acknowledged

    def __post_init__(self) -> None:
        self._nodes: dict[str, int] = {".": ROOT}
        self._held: dict[int, bytes] = {}
        self._next = ROOT
        self.look()
        self.names, self.held = self._now(), dict(self._held)  # what lay there before, durably
        self.steps.clear()

    def _now(self) -> Names:
        names: Names = {number: {} for number in self.folders}
        for path, number in self._nodes.items():
            if number != ROOT:
                names[self._nodes[str(Path(path).parent)]][Path(path).name] = number
        return names

    def acknowledge(self) -> None:
        """From here on it counts as done."""
        self.look()
        self.marks.append(len(self.steps))

    def look(self) -> None:
        """Note what has changed since the last look."""
        there = {str(one.relative_to(self.root)): one for one in sorted(self.root.rglob("*"))}
        for path in sorted(set(self._nodes) - set(there) - {"."}, reverse=True):
            self.steps.append(Step("remove", self._nodes.pop(path), *self._place(path)))
        for path, one in there.items():
            if path not in self._nodes:
                self._next += 1
                self._nodes[path] = self._next
                self.steps.append(Step("name", self._next, *self._place(path)))
                if one.is_dir():
                    self.folders.add(self._next)
                else:
                    self._held[self._next] = b""
            number = self._nodes[path]
            if number not in self.folders and (data := one.read_bytes()) != self._held[number]:
                self.steps.append(Step("write", number, data=data))
                self._held[number] = data

    def _place(self, path: str) -> tuple[int, str]:
        return self._nodes[str(Path(path).parent)], Path(path).name

    def sync(self, handle: int) -> None:
        """A file or folder was synced."""
        self.look()
        path = os.readlink(f"/proc/self/fd/{handle}")
        if (number := self._nodes.get(os.path.relpath(path, self.root))) is not None:
            self.steps.append(Step("sync", number))

    def move(self, what: str, source: Any, target: Any, do: Callable[[], Any]) -> Any:
        """Two names changed, at one moment."""
        self.look()
        one, other = (os.path.relpath(os.path.abspath(path), self.root) for path in (source, target))
        made = do()
        if made is False or one not in self._nodes:
            return made
        self.steps.append(Step(what, self._nodes[one], *self._place(one), *self._place(other)))
        mine, others = self._pop_below(one), self._pop_below(other)
        self._nodes |= {other + path: number for path, number in mine.items()}
        if what == "exchange":
            self._nodes |= {one + path: number for path, number in others.items()}
        return made

    def _pop_below(self, path: str) -> dict[str, int]:
        below = [name for name in self._nodes if name == path or name.startswith(f"{path}/")]
        return {name.removeprefix(path): self._nodes.pop(name) for name in below}


@contextmanager
def tracing(root: Path) -> Iterator[Trace]:
    """Note what this thread does below a folder."""
    trace, real = Trace(root), {name: getattr(os, name) for name in (*CALLS, "fsync", "replace")}
    swap: Any = vars(manifests)["exchange"]  # as a test may have replaced it

    def seen(name: str) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            trace.look()
            try:
                return real[name](*words, **more)
            finally:
                trace.look()

        return call

    def sync(handle: Any) -> None:
        trace.sync(handle if isinstance(handle, int) else handle.fileno())
        real["fsync"](handle)

    def replace(source: Any, target: Any) -> None:
        trace.move("rename", source, target, lambda: real["replace"](source, target))

    calls: dict[str, Any] = {name: seen(name) for name in CALLS}
    with mock.patch.multiple(os, **{**calls, "fsync": sync, "replace": replace}):
        patched = lambda one, other: trace.move("exchange", one, other, lambda: swap(one, other))  # noqa: E731
        with mock.patch.object(manifests, "exchange", patched):
            yield trace
    trace.look()


@dataclass(frozen=True)
class Crash:
    """Where power was lost, and by how much the disk lay behind."""

    done: int  # steps
    names: Names
    data: dict[int, bytes]

    def put(self, root: Path) -> None:
        """Make the folder what the crash has left."""
        shutil.rmtree(root, ignore_errors=True)
        self._put(root, ROOT)

    def _put(self, here: Path, number: int) -> None:
        if number not in self.names:
            here.write_bytes(self.data.get(number, b""))
            return
        here.mkdir(parents=True)
        for name, inner in self.names[number].items():
            self._put(here / name, inner)


def crash(trace: Trace, chance: random.Random, done: int | None = None) -> Crash:
    """A state in which a crash may leave the folder, after so many steps, or any number."""
    done = chance.randint(0, len(trace.steps)) if done is None else done
    steps = trace.steps[:done]
    kept = _order_names(steps, chance) if chance.random() < 0.5 else _each(steps, trace.folders, chance)
    names = {number: dict(inner) for number, inner in trace.names.items()} | {
        number: {} for number in trace.folders if number not in trace.names
    }
    for step in kept:
        _do(names, step)
    return Crash(done, names, {number: _data(trace, steps, number, chance) for number in trace._held})


def _order_names(steps: list[Step], chance: random.Random) -> list[Step]:
    """Names are kept in the order of the journal, and the sync of any folder takes all before it along."""
    forced = max((place for place, step in enumerate(steps) if step.what == "sync"), default=0)
    return [step for step in steps[: chance.randint(forced, len(steps))] if step.name]


def _each(steps: list[Step], folders: set[int], chance: random.Random) -> list[Step]:
    """Each folder keeps its own names in order; a rename into another is kept, or not, with those of its target."""
    least = {number: 0 for number in folders}
    for place, step in enumerate(steps):
        if step.what == "sync" and step.node in folders:
            least[step.node] = place
    cuts = {number: _cut(forced, len(steps), chance) for number, forced in least.items()}
    return [step for place, step in enumerate(steps) if step.name and place < cuts[step.to if step.new else step.at]]


def _cut(least: int, most: int, chance: random.Random) -> int:
    """Often all, or no more than was synced."""
    return chance.choice((least, most, chance.randint(least, most)))


def _do(names: Names, step: Step) -> None:
    """One change of names, where what it changes is there."""
    at, to = names[step.at], names[step.to]
    if step.what == "name":
        at[step.name] = step.node
    elif step.what == "remove" and at.get(step.name) == step.node and not names.get(step.node):
        del at[step.name]
    elif step.what == "rename":  # what a folder's sync keeps is there, whether its older name ever was
        to[step.new] = step.node
        if at.get(step.name) == step.node and (step.at, step.name) != (step.to, step.new):
            del at[step.name]
    elif step.what == "exchange" and at.get(step.name) == step.node and step.new in to:
        at[step.name], to[step.new] = to[step.new], at[step.name]


def _data(trace: Trace, steps: list[Step], number: int, chance: random.Random) -> bytes:
    """What a file holds: what was synced, and of what was written since a part."""
    durable, last = trace.held.get(number, b""), trace.held.get(number, b"")
    for step in steps:
        if step.node == number and step.what == "write":
            last = step.data
        elif step.node == number and step.what == "sync":
            durable = last
    if last == durable:
        return last
    how = chance.choice(("kept", "lost", "torn", "zeroed"))
    if how in ("kept", "lost"):
        return last if how == "kept" else durable
    same = next((place for place, pair in enumerate(zip(durable, last, strict=False)) if pair[0] != pair[1]), None)
    same = min(len(durable), len(last)) if same is None else same
    cut = chance.randint(same, len(last))
    if how == "zeroed":
        return last[:cut] + bytes(len(last) - cut)
    return last[:cut] + durable[cut:]
