"""Threads, and the teams of threads that matrix products keep for each of them.

OpenMP keeps a team for every thread that ever computed. Where there are more threads in all teams than cores, none of
them waits actively any more, and each of the hundred products of a pass begins with a wake-up: on 2 cores a pass takes
more than twice as long. So what computes beside a worker does so in a thread that ends, and workers share the cores.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def run_in_new_thread(work: Callable[[], Result]) -> Result:
    """What `work` gives or raises, done by a thread that ends with it."""
    made: list[Result] = []
    failed: list[BaseException] = []

    def do() -> None:
        try:
            made.append(work())
        except BaseException as problem:
            failed.append(problem)

    thread = threading.Thread(target=do, name="apart")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
