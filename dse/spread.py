"""A function over many items, spread over the cores of this machine; the results are those of one process, in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_work: tuple[Callable[[Any], Any], Sequence[Any]] = (repr, ())  # what forked workers inherit


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    """function(item) of every item in their order, as soon as it is there.

    Workers are forked: the function and the items may be anything, what it changes stays in the worker. Where forking is
    not possible or not safe (other threads, or this is a worker itself), and with one worker, this process does the work.
    """
    global _work
    alone = min(workers, len(items)) < 2 or threading.active_count() > 1 or multiprocessing.parent_process() is not None
    if alone or "fork" not in multiprocessing.get_all_start_methods():
        yield from map(function, items)
        return
    _work = function, items
    with multiprocessing.get_context("fork").Pool(min(workers, len(items)), _leave_interrupts) as pool:
        yield from pool.imap(_call, range(len(items)))


def _leave_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers


def _call(index: int) -> Any:
    function, items = _work
    return function(items[index])
