"""Identifiers are in the order in which they were made."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from fusiondelta import _ids

pytestmark = pytest.mark.unit


def test_they_sort_in_the_order_they_were_made():
    made = [_ids.new_id() for _ in range(20_000)]
    assert made == sorted(made)
    assert len({*made}) == len(made)


def test_they_are_of_version_7_and_tell_the_time():
    before = time.time_ns() // 1_000_000
    one = uuid.UUID(_ids.new_id())
    after = time.time_ns() // 1_000_000
    assert (one.version, one.variant) == (7, uuid.RFC_4122)
    assert before <= one.int >> 80 <= after + 1


def test_a_clock_that_is_set_back(monkeypatch):
    first = _ids.new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert _ids.new_id() > first


def test_threads_get_different_ones():
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: _ids.new_id(), range(4_000)))
    assert len({*made}) == len(made)
