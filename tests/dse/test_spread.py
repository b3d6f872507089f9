"""Work over the cores of this machine: the same results in the same order as of one process, and its errors."""

from __future__ import annotations

import os
import threading

import pytest

from dse import pipeline, search, spread


@pytest.fixture
def only_thread(monkeypatch):
    """Forking is refused beside other threads, of which a test runner has some; none of them holds a lock here."""
    monkeypatch.setattr(threading, "active_count", lambda: 1)
    monkeypatch.setattr(spread.multiprocessing, "parent_process", lambda: None)


def test_results_come_in_order_and_from_workers(only_thread):
    found = list(spread.spread(lambda item: (item * item, os.getpid()), range(20), 2))
    assert [value for value, _ in found] == [item * item for item in range(20)]
    assert os.getpid() not in {worker for _, worker in found}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_the_error_of_the_item(only_thread, workers):
    with pytest.raises(ZeroDivisionError):
        list(spread.spread(lambda item: 1 // item, [1, 0], workers))


def test_beside_other_threads_this_process_does_the_work(monkeypatch):
    monkeypatch.setattr(threading, "active_count", lambda: 2)
    assert set(spread.spread(lambda _: os.getpid(), range(3), 2)) == {os.getpid()}


def test_a_search_finds_the_same_on_one_core_and_on_two(only_thread, monkeypatch):
    found = []
    for count in (1, 2):
        monkeypatch.setattr(search, "cores", lambda count=count: count)
        found.append(pipeline.find(pipeline.prepare("tr_hgr", "stm32l476", scope="mhsa"), ("latency", "memory")))
    assert [p.schedule for p in found[0].front] == [p.schedule for p in found[1].front]
    assert found[0].certificate == found[1].certificate


def test_a_second_search_of_other_limits_builds_no_sheet(monkeypatch):
    house = pipeline.prepare("tr_hgr", "stm32l476", scope="mhsa", form="none")
    fastest = pipeline.find(house).best
    monkeypatch.setattr(search, "build_sheet", lambda *_, **__: pytest.fail("a sheet was built again"))
    smaller = pipeline.find(house, budget=pipeline.Budget(ram_bytes=fastest.cost.arena_bytes - 1)).best
    assert smaller.cost.arena_bytes < fastest.cost.arena_bytes
