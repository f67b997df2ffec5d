"""Tables, runs and segments of ids: what they hold, what they cost, how they grow, what damages."""

from __future__ import annotations

import random

import numpy as np
import pytest

from rating_core.errors import IdsDamaged, SnapshotInvalid
from rating_core.metering.id_index import IdIndex
from rating_core.metering.ids.run import PAGE_BYTES, all_rows, merged_run, read_run
from rating_core.metering.ids.slots import PAYLOAD_BITS
from rating_core.metering.ids.table import MOVED_PER_ID, IdTable
from rating_core.period import DAY_US

GENERATOR_SEED = 11


@pytest.fixture
def fresh():
    """Return a function that makes n random identities."""
    generator = np.random.default_rng(GENERATOR_SEED)
    return lambda n: generator.integers(0, 2**64, (n, 3), dtype=np.uint64)


def looked_up(held, identities):
    """Return found and payloads of identities in a table, run or index."""
    found = np.zeros(len(identities), np.bool_)
    payloads = np.zeros(len(identities), np.uint64)
    held.find(identities, found, payloads)
    return found, payloads


def crowded(count, last):
    """Return identities whose hashes all belong at one end of a table."""
    base = 2**64 - 1 - count if last else 2
    rows = [[base + n // 2, n % 2 << 40, n] for n in range(1, count)]
    return np.array(rows, np.uint64)


def encoded(taken):
    """Return section and parts of an index as bytes."""
    section, parts = taken
    return section(), {name: part() for name, part in parts.items()}


@pytest.mark.parametrize("batch", [60, 900, 8192])
def test_memory_is_bounded_at_every_fill(fresh, batch):
    """From 100,000 ids on an id never takes more than 24 bytes, while tables grow too (P15)."""
    table = IdTable()
    table.insert(fresh(100_000))
    most = 0
    while table.count < 160_000:
        table.insert(fresh(batch))
        most = max(most, table.bytes_held() / table.count)
    assert most <= 24


def test_growth_moves_a_bounded_number_of_slots(fresh):
    """A table of any size grows beside itself: an insertion moves about 16 slots for an id."""
    table = IdTable()
    table.insert(fresh(300_000))
    grew = 0
    while grew < 3:
        before = table._frontier if table.growing else 0
        table.insert(fresh(500))
        if table.growing:
            grew += before == 0
            assert table._frontier - before <= 500 * MOVED_PER_ID + 4096 + 100
    assert table.bytes_held() < table.count * 24


def test_a_table_in_growth_answers_for_all(fresh):
    """While a part has moved and a part has not, every id is found once and in order."""
    table, known = IdTable(), [fresh(200_000)]
    table.insert(known[0])
    seen_growing = 0
    while seen_growing < 20:
        known.append(fresh(700))
        table.insert(known[-1])
        seen_growing += table.growing
    identities = np.concatenate(known)
    found, payloads = looked_up(table, identities)
    assert found.all()
    assert (payloads == identities[:, 2] & PAYLOAD_BITS).all()
    assert not looked_up(table, fresh(20_000))[0].any()
    rows = all_rows(table)
    assert rows.shape[0] == table.count
    assert (rows[1:, 0] >= rows[:-1, 0]).all()


@pytest.mark.parametrize("last", [False, True])
def test_crowded_ends_find_room(last):
    """Ids that all belong to the first or last slots are kept: a table widens where it must."""
    table, identities = IdTable(), crowded(1500, last)
    for part in np.array_split(identities, 20):
        table.insert(part)
    found, payloads = looked_up(table, identities)
    assert found.all()
    assert (payloads == identities[:, 2]).all()
    run = merged_run([table], (0, 0))
    assert looked_up(run, identities)[0].all()
    assert (all_rows(run) == all_rows(table)).all()


def test_equal_words_at_page_borders_are_found():
    """Ids that share their first 64 bits are told apart also where a page ends between them."""
    identities = np.zeros((1100, 3), np.uint64)
    identities[:, 0] = 5
    identities[:, 1] = np.arange(1100, dtype=np.uint64) << np.uint64(32)
    table = IdTable()
    table.insert(identities[::2])
    found, _ = looked_up(merged_run([table], (0, 0)), identities)
    assert found.tolist() == [True, False] * 550


@pytest.mark.parametrize("count", [0, 1, 254, 255, 256, 700])
def test_runs_hold_what_their_sources_held(fresh, count):
    """A run of a table and a run, merged, finds all of both and nothing else."""
    identities = fresh(count)
    first, second = IdTable(), IdTable()
    first.insert(identities[: count // 3])
    second.insert(identities[count // 3 :])
    run = merged_run([merged_run([first], (1, 2)), second], (1, 2))
    assert (run.count, run.segment) == (count, (1, 2))
    found, payloads = looked_up(run, identities)
    assert found.all()
    assert (payloads == identities[:, 2] & PAYLOAD_BITS).all()
    assert not looked_up(run, fresh(500))[0].any()
    assert read_run(run.content, resident=True).count == count


def test_the_filter_lets_one_in_a_hundred_pass(fresh):
    """The pages are read for about 1 % of the ids that a run does not hold; 17.4 bytes an id."""
    table = IdTable()
    table.insert(fresh(100_000))
    asked: list[int] = []
    content = bytearray(merged_run([table], (0, 0)).content)
    run = read_run(content, resident=False, will_need=lambda pages: asked.append(len(pages)))
    assert not looked_up(run, fresh(50_000))[0].any()
    assert 200 < sum(asked) < 1000
    assert run.bytes_held() / run.count < 1.3
    assert len(content) / run.count < 17.5


def test_damage_is_found_before_an_answer_is_given(fresh):
    """Wherever one byte of a run differs, reading or the look-up raises; it never answers."""
    identities, table = fresh(600), IdTable()
    table.insert(identities)
    content = bytearray(merged_run([table], (0, 0)).content)
    generator = random.Random(3)
    places = [generator.randrange(len(content)) for _ in range(150)]
    for place in (*places, 0, PAGE_BYTES - 1, PAGE_BYTES, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1 << generator.randrange(8)
        with pytest.raises(IdsDamaged):
            looked_up(read_run(damaged, resident=True), identities)
    for length in (0, 100, PAGE_BYTES, len(content) - 1):
        with pytest.raises(IdsDamaged):
            read_run(content[:length], resident=True)


def test_pages_that_changed_places_are_noticed(fresh):
    """A page's check covers its number."""
    identities, table = fresh(600), IdTable()
    table.insert(identities)
    content = bytearray(merged_run([table], (0, 0)).content)
    first, second = content[PAGE_BYTES : 2 * PAGE_BYTES], content[2 * PAGE_BYTES : 3 * PAGE_BYTES]
    content[PAGE_BYTES : 3 * PAGE_BYTES] = second + first
    with pytest.raises(IdsDamaged):
        read_run(content, resident=True).check()


class Model:
    """What an index must hold, as a dictionary."""

    def __init__(self):
        self.ids = {}

    def answers(self, identities):
        """Return found and payloads."""
        rows = [self.ids.get((high, low)) for high, low, _ in identities.tolist()]
        return [row is not None for row in rows], [row or 0 for row in rows]


def moved(index, generator):
    """Move a piece of an index as a server does: seal, write, exchange, all at random."""
    segment = generator.choice(index.segments())
    segment.seal()
    pieces = segment.closed()
    chosen = generator.sample(pieces, generator.randint(0, len(pieces)))
    if chosen:
        content = merged_run(chosen, segment.key).content
        assert segment.exchange(chosen, read_run(content, resident=generator.random() < 0.5))
        assert not segment.exchange(chosen[:1], merged_run(chosen[:1], segment.key))


@pytest.mark.parametrize(("seed", "steps"), [(9, 12), *((seed, 60) for seed in range(6))])
def test_index_agrees_with_a_dictionary(seed, steps):
    """Any course of insertions, moves, snapshots and expiry leaves what a dict would hold.

    The digest does not tell where ids lie: the same ids in one table have the same (P10).
    """
    generator = random.Random(seed)
    index, plain, model, window, now = IdIndex(), IdIndex(), Model(), 3 * DAY_US, 50 * DAY_US
    by_day = {}
    for _ in range(steps):
        now += generator.randrange(DAY_US // 3)
        made = [
            [generator.randrange(1, 400), generator.randrange(4) << 32, generator.randrange(2**31)]
            for _ in range(generator.randint(1, 25))
        ]
        made = list({(h, lo): [h, lo, p] for h, lo, p in made if (h, lo) not in model.ids}.values())
        if made:
            for each in (index, plain):
                each.insert(np.array(made, np.uint64), now, window)
            model.ids.update({(h, lo): p for h, lo, p in made})
            by_day.setdefault(now // DAY_US, [now, []])[1].extend((h, lo) for h, lo, _ in made)
            by_day[now // DAY_US][0] = now
        if generator.random() < 0.5 and index.segments():
            moved(index, generator)
        if generator.random() < 0.15:
            section, parts = encoded(index.take())
            index = IdIndex()
            index.load(section, {name: bytes(part) for name, part in parts.items()})
        index.expire(now, window)
        plain.expire(now, window)
        for day in [d for d, (last, _) in by_day.items() if last <= now - window - DAY_US]:
            for key in by_day.pop(day)[1]:
                model.ids.pop(key, None)
        asked = np.array(
            [[generator.randrange(1, 400), generator.randrange(4) << 32, 0] for _ in range(50)],
            np.uint64,
        )
        found, payloads = looked_up(index, asked)
        assert (found.tolist(), payloads.tolist()) == model.answers(asked)
        assert index.count == len(model.ids)
    assert index.digest() == plain.digest()
    assert index.forgotten == (steps > 12)


def test_ids_without_compiled_code(pass_without_compiled_code):
    """NUMBA_DISABLE_JIT=1 and warnings as errors: no kernel of ids wraps where it must not."""
    pass_without_compiled_code(__file__, chosen="dictionary and 9-12")


def test_snapshots_with_missing_or_damaged_ids_are_refused(fresh):
    """A part that lacks, or is damaged in a page nobody has read, makes the snapshot invalid."""
    index = IdIndex()
    index.insert(fresh(900), 5, None)
    index.segments()[0].seal()
    index.insert(fresh(30), 6, None)
    section, parts = encoded(index.take())
    name = next(iter(parts))
    with pytest.raises(SnapshotInvalid):
        IdIndex().load(section, {k: v for k, v in parts.items() if k != name})
    damaged = bytearray(parts[name])
    damaged[PAGE_BYTES + 9] ^= 1
    with pytest.raises(SnapshotInvalid):
        IdIndex().load(section, parts | {name: bytes(damaged)})
    again = IdIndex()
    again.load(section, parts)
    assert again.digest() == index.digest()
    assert [bytes(part) for part in encoded(again.take())[1].values()] == [*parts.values()]
