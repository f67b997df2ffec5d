"""Chunks: every row once, in order, by no more threads than asked for, errors passed on."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rating_core import threads
from rating_core.threads import CHUNK_ROWS, run_chunks

SIZES = [1, CHUNK_ROWS - 1, CHUNK_ROWS, CHUNK_ROWS + 1, 5 * CHUNK_ROWS + 7]


@pytest.mark.parametrize("row_count", SIZES)
@pytest.mark.parametrize("workers", [1, 2, 7])
def test_ranges_cover_all_rows_once_in_order(row_count: int, workers: int) -> None:
    """Ranges follow each other from 0 to the end; all but the last hold a whole chunk."""
    ranges = run_chunks(lambda start, end: (start, end), row_count, workers)
    assert [start for start, _ in ranges] == list(range(0, row_count, CHUNK_ROWS))
    assert [end for _, end in ranges] == [*(start for start, _ in ranges[1:]), row_count]


def test_no_rows_no_call() -> None:
    """Without rows the task is not called, and the answer is empty."""
    assert run_chunks(lambda start, end: 1 // (end - start), 0, 2) == []


def test_one_thread_is_the_caller() -> None:
    """With one thread everything runs in the caller's own."""
    seen = run_chunks(lambda start, end: threading.get_ident(), 3 * CHUNK_ROWS, 1)
    assert set(seen) == {threading.get_ident()}


def test_no_more_threads_than_asked_for() -> None:
    """However many chunks there are, never more run at the same time than threads were given."""
    lock = threading.Lock()
    running, most = 0, 0

    def task(start: int, end: int) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.002)
        with lock:
            running -= 1

    run_chunks(task, 20 * CHUNK_ROWS, 2)
    assert most <= 2


def test_many_callers_share_the_pool() -> None:
    """Calls at the same time all finish, though the pool has fewer threads than they ask for."""
    with ThreadPoolExecutor(6) as callers:
        calls = [
            callers.submit(run_chunks, lambda start, end: end - start, 9 * CHUNK_ROWS + 1, 4)
            for _ in range(24)
        ]
        assert {sum(call.result(timeout=60)) for call in calls} == {9 * CHUNK_ROWS + 1}


def test_a_pool_that_does_not_answer_is_not_waited_for() -> None:
    """While the pool is busy elsewhere the caller does all chunks alone."""
    release = threading.Event()
    pool = threads._pool()
    blockers = [pool.submit(release.wait, 60) for _ in range(pool._max_workers)]
    try:
        seen = run_chunks(lambda start, end: threading.get_ident(), 4 * CHUNK_ROWS, 4)
    finally:
        release.set()
    assert set(seen) == {threading.get_ident()}
    assert all(blocker.result(timeout=60) for blocker in blockers)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_reaches_the_caller(workers: int) -> None:
    """What a task raises, the call raises; chunks after it are not begun for nothing."""
    done = []

    def task(start: int, end: int) -> None:
        if start == CHUNK_ROWS:
            raise ZeroDivisionError(str(start))
        done.append(start)

    with pytest.raises(ZeroDivisionError, match=str(CHUNK_ROWS)):
        run_chunks(task, 50 * CHUNK_ROWS, workers)
    assert len(done) < 49


@pytest.mark.parametrize(
    ("workers", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), ("2", TypeError)]
)
def test_numbers_of_threads_are_checked(workers: object, error: type[Exception]) -> None:
    """Less than one thread is a ValueError, anything but an integer a TypeError."""
    with pytest.raises(error, match="threads"):
        run_chunks(lambda start, end: None, 1, workers)
