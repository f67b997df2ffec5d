"""Which calls share the next entry: two lanes, of which neither starves (group commit)."""

import pytest

from rating_core.metering.log.flight import CallQueue


class Texts:
    """A machine's half of grouping: a text is as large as it is long; "alone" joins nothing.

    Capitals join capitals only, and "ordered" overtakes nothing.
    """

    def joins(self, first, call):
        return first != "alone" != call and first.isupper() == call.isupper()

    def hurries(self, call):
        return call != "ordered"

    def size(self, call):
        return len(call)


@pytest.fixture
def queue():
    """An empty queue."""
    return CallQueue(Texts())


def taken(queue):
    """Take all entries; their calls."""
    entries = []
    while len(queue):
        entries.append([pending.call for pending in queue.take()])
    assert queue.bytes == 0
    return entries


def test_small_calls_overtake_large_ones_and_fill_half_an_entry(queue):
    """Each entry takes of both lanes while both have calls."""
    large = ["l" * 50_000, "m" * 50_000]
    small = [f"{number:03000}" for number in range(40)]
    for ticket, call in enumerate([*large, *small]):
        queue.arrive(ticket, call)
    assert queue.hurried
    assert taken(queue) == [[*small[:16], large[0]], [*small[16:32], large[1]], small[32:]]
    assert not queue.hurried


def test_a_call_that_promises_an_order_overtakes_nothing(queue):
    """S7.6: a small batch of a stream stays behind the large one before it."""
    large = "l" * 90_000
    for ticket, call in enumerate([large, "ordered", "b"]):
        queue.arrive(ticket, call)
    queue.take_back(queue.take())
    assert taken(queue) == [["b", large, "ordered"]]


def test_large_calls_that_join_no_small_one_have_every_second_entry(queue):
    """Small calls that come without end do not starve a lane that they share no entry with."""
    for ticket in range(2):
        queue.arrive(ticket, "L" * 90_000)
    entries = []
    for ticket in range(2, 8):
        queue.arrive(ticket, str(ticket))
        entries.append(queue.take()[0].call[:1])
    assert entries == ["2", "L", "3", "L", "5", "7"]


def test_calls_that_join_nothing_go_alone(queue):
    """A control call has an entry of its own; what stands behind it waits for the next."""
    for ticket, call in enumerate(["a", "alone", "b", "c"]):
        queue.arrive(ticket, call)
    assert taken(queue) == [["a"], ["alone"], ["b", "c"]]


def test_what_is_taken_back_stands_where_it_stood(queue):
    """P2: calls that were rolled back are decided before those that came after them."""
    large = [letter * 60_000 for letter in "lmn"]
    for ticket, call in enumerate(["a", large[0], "b", large[1], large[2]]):
        queue.arrive(ticket, call)
    first, second = queue.take(), queue.take()
    assert [p.call for p in first] == ["a", "b", large[0]]
    queue.take_back([*second, *first])
    assert taken(queue) == [["a", "b", large[0]], [large[1]], [large[2]]]


def test_separated_calls_are_decided_one_by_one(queue):
    """P15: where calls do not fit together each is tried by itself."""
    for ticket, call in enumerate(["a", "b" * 5_000, "c"]):
        queue.arrive(ticket, call)
    queue.separate(queue.take())
    assert taken(queue) == [["a"], ["b" * 5_000], ["c"]]
