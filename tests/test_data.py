"""`Batches`: each sample once an epoch, in an order that a seed repeats, resumed at any batch."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.errors import CallOrderError, ModelError, RangeError


def rows(n: int = 10, **settings: Any) -> mg.Batches:
    """Samples whose only feature is their row, with a hundred times that as target."""
    settings = {"batch_size": 4, "rng": 0} | settings
    return mg.Batches(np.arange(n)[:, np.newaxis], 100 * np.arange(n), **settings)


def epoch(data: mg.Batches) -> list[list[int]]:
    return [x[:, 0].tolist() for x, _ in data]


@sparse(
    pytest.mark.parametrize("n", [1, 4, 10, 12]),
    pytest.mark.parametrize("batch_size", [1, 3, 4, "all"]),
    pytest.mark.parametrize("shuffle", [True, False]),
    pytest.mark.parametrize("drop_last", [True, False]),
    full=2,
)
def test_each_sample_comes_once_an_epoch(
    n: int, batch_size: Any, shuffle: bool, drop_last: bool
) -> None:
    """All samples, or all that fill their batches.

    Each with its own target, and with its row in `indices`.
    """
    size = n if batch_size == "all" else min(n, batch_size)
    data = rows(n, batch_size=size, shuffle=shuffle, drop_last=drop_last)
    for _ in range(3):
        seen: list[int] = []
        sizes = []
        for x, y in data:
            assert (100 * x[:, 0]).tolist() == y.tolist()
            assert x[:, 0].tolist() == data.indices.tolist()
            seen += x[:, 0].tolist()
            sizes.append(len(x))
        assert len(data) == len(sizes)
        rest = n % size
        assert [size] * (n // size) + ([rest] if rest and not drop_last else []) == sizes
        assert len(seen) == len(set(seen)) == sum(sizes)
        assert shuffle or list(range(len(seen))) == seen
        if not (rest and drop_last):
            assert set(range(n)) == set(seen)


def test_every_epoch_has_an_order_of_its_own() -> None:
    """Shuffling is new each time, and the same again with the same seed.

    Other seeds give other orders.
    """
    first, second = rows(50, batch_size=7), rows(50, batch_size=7)
    orders = [epoch(first) for _ in range(3)]
    assert orders == [epoch(second) for _ in range(3)]
    assert orders[0] != orders[1] != orders[2]
    assert orders[0] != epoch(rows(50, batch_size=7, rng=1))
    assert epoch(rows(50, rng=np.random.default_rng(5))) == epoch(rows(50, rng=5))


def test_what_is_dropped_changes_from_epoch_to_epoch() -> None:
    """With `drop_last` no sample is left out for ever."""
    data = rows(10, drop_last=True)
    seen: set[int] = set()
    for _ in range(20):
        seen |= {row for batch in epoch(data) for row in batch}
    assert set(range(10)) == seen


def test_without_shuffling_no_random_number_is_drawn() -> None:
    """The generator may be shared with others."""
    rng = np.random.default_rng(0)
    epoch(rows(rng=rng, shuffle=False))
    assert np.random.default_rng(0).random() == rng.random()


def test_shapes_and_kinds_stay() -> None:
    """Images stay images, bytes bytes, rows of targets rows."""
    data = mg.Batches(np.zeros((6, 2, 3), np.uint8), np.zeros((6, 4), np.float64), 4)
    x, y = next(iter(data))
    assert ((4, 2, 3), np.uint8, (4, 4), np.float64) == (
        x.shape,
        x.dtype.type,
        y.shape,
        y.dtype.type,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
def test_scale_gives_floats(dtype: Any) -> None:
    """Images kept as bytes become float32 batch by batch; what is kept stays as it is."""
    x = np.array([[0, 51], [102, 255]], dtype)
    data = mg.Batches(x, [0, 1], 2, shuffle=False, scale=1 / 255)
    found = next(iter(data))[0]
    np.testing.assert_allclose(found, [[0, 0.2], [0.4, 1]], rtol=1e-6)
    assert (np.float64 if dtype is np.float64 else np.float32) is found.dtype.type
    assert [[0, 51], [102, 255]] == x.tolist()
    if dtype is np.uint8:
        assert found.tobytes() == (x * np.float32(1 / 255)).tobytes()


def test_batches_are_the_callers() -> None:
    """A batch is a copy: writing into it changes no data, and later batches do not change it."""
    for shuffle in (True, False):
        x, y = np.arange(6.0), np.arange(6)
        data = mg.Batches(x, y, 2, shuffle=shuffle, rng=0)
        batches = [(a, b, data.indices) for a, b in data]
        assert list(range(6)) == sorted(value for a, _, _ in batches for value in a)
        for arrays in batches:
            for array in arrays:
                array.fill(-1)
        assert list(range(6)) == x.tolist() == y.tolist()
        assert list(range(6)) == sorted(value for a, _ in data for value in a)


@sparse(
    pytest.mark.parametrize("stop", range(9)),
    pytest.mark.parametrize("shuffle", [True, False]),
    pytest.mark.parametrize("drop_last", [True, False]),
)
def test_resuming_at_any_batch(shuffle: bool, drop_last: bool, stop: int) -> None:
    """A state taken after any batch gives exactly the batches that would have come, to the end and
    beyond.
    """
    settings: dict[str, Any] = {"shuffle": shuffle, "drop_last": drop_last}
    plain, stopped = rows(**settings), rows(**settings)
    expected = [batch for _ in range(6) for batch in epoch(plain)]
    found: list[list[int]] = []
    while len(found) < stop:
        for x, _ in stopped:
            found.append(x[:, 0].tolist())
            if len(found) == stop:
                break
    state = pickle.dumps(stopped.state_dict())
    resumed = rows(**(settings | {"rng": 99}))
    resumed.load_state_dict(pickle.loads(state))
    if stop:
        assert stopped.indices.tolist() == resumed.indices.tolist()
    while len(found) < len(expected):
        found += epoch(resumed)
    assert expected == found


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_at_the_last_batch(shuffle: bool, drop_last: bool) -> None:
    """A state from inside of the loop has an epoch to end, whose rest is empty.

    One from after the loop has not.
    """
    settings: dict[str, Any] = {"shuffle": shuffle, "drop_last": drop_last}
    data = rows(**settings)
    for number, _ in enumerate(data, 1):
        if number == len(data):
            inside = data.state_dict()
    after = data.state_dict()
    last = data.indices.tolist()
    following = epoch(data)
    assert (False, True) == (inside["ended"], after["ended"])
    assert {**inside, "ended": True}.keys() == after.keys()
    for state, expected in ((inside, [[], following]), (after, [following])):
        resumed = rows(**(settings | {"rng": 99}))
        epoch(resumed)
        resumed.load_state_dict(pickle.loads(pickle.dumps(state)))
        assert last == resumed.indices.tolist()
        assert pickle.dumps(state) == pickle.dumps(resumed.state_dict())
        assert expected == [epoch(resumed) for _ in expected]


def test_a_state_from_before_the_first_batch() -> None:
    """The next epoch is the first.

    The rows of no batch are known, also where some had been given before.
    """
    state = rows().state_dict()
    resumed = rows(rng=9)
    epoch(resumed)
    resumed.load_state_dict(state)
    assert not resumed.has_given
    with pytest.raises(CallOrderError, match="no batch was given yet"):
        resumed.indices  # noqa: B018 - reading it is what is tested
    assert epoch(rows()) == epoch(resumed)


def test_an_epoch_that_was_left_and_resumed_is_left_again() -> None:
    """The rest of an epoch comes once; after a `break` in it a new epoch begins."""
    data = rows()
    next(iter(data))
    resumed = rows(rng=3)
    resumed.load_state_dict(data.state_dict())
    for _ in resumed:
        break
    assert list(range(10)) == sorted(row for batch in epoch(resumed) for row in batch)


ABSENT = object()


@pytest.mark.parametrize(
    ("name", "thing", "told"),
    [
        *(
            (name, ABSENT, "this is no state of Batches: it has ")
            for name in ("order", "start", "stop", "ended", "rng")
        ),
        ("order", np.arange(9), "the state is of 9 samples, but there are 10"),
        ("order", np.arange(20), "the state is of 20 samples, but there are 10"),
        ("order", [], "the state is of 0 samples, but there are 10"),
        ("order", np.arange(1, 11), "does not name each sample once"),
        ("order", np.zeros(10, np.int64), "does not name each sample once"),
        ("order", np.arange(10.0), "does not name each sample once"),
        ("order", np.arange(10).reshape(2, 5), "does not name each sample once"),
        ("order", np.arange(10)[:, np.newaxis], "does not name each sample once"),
        ("order", np.int64(3), "does not name each sample once"),
        ("order", "0123456789", "does not name each sample once"),
        (
            "order",
            [[1], [2, 3]],
            "the state of Batches is damaged: setting an array element with a sequence",
        ),
        ("order", {"a": 1}, "does not name each sample once"),
        ("order", [None] * 10, "does not name each sample once"),
        ("start", -1, "damaged: start is -1, expected a whole number, 0 or more"),
        ("start", 9, "stands at 9 to 8 of 10 samples"),
        ("start", 4.0, "start is 4.0, expected a whole number"),
        ("start", True, "start is True, expected a whole number"),
        ("start", "4", "start is '4', expected a whole number"),
        ("start", float("inf"), "start is inf, expected a whole number"),
        ("start", np.array([4, 5]), "the state of Batches is damaged: "),
        ("stop", 11, "stands at 4 to 11 of 10 samples"),
        ("stop", None, "stop is None, expected a whole number"),
        ("stop", 10**30, "stands at 4 to 1000"),
        ("stop", [8], r"stop is \[8\], expected a whole number"),
        ("ended", "no", "ended is 'no', expected True or False"),
        ("ended", None, "ended is None, expected True or False"),
        ("rng", None, "the rng of Batches is a PCG64, and this is a state of None"),
        ("rng", {}, "the rng of Batches is a PCG64, and this is a state of None"),
        (
            "rng",
            np.random.MT19937(0).state,
            "the rng of Batches is a PCG64, and this is a state of MT19937",
        ),
        ("rng", {**np.random.PCG64(0).state, "state": {}}, "and this state of one is damaged"),
    ],
)
def test_damaged_states(name: str, thing: Any, told: str, state_of_two: dict[str, Any]) -> None:
    """Each is an error that says what is wrong, and the epoch stays where it stood."""
    data = rows(rng=5)
    next(iter(data))
    before = pickle.dumps(data.state_dict())
    state = {**state_of_two, name: thing}
    if thing is ABSENT:
        del state[name]
    with pytest.raises(ModelError, match=told):
        data.load_state_dict(state)
    assert before == pickle.dumps(data.state_dict())


@pytest.fixture
def state_of_two() -> dict[str, Any]:
    """The state after two batches, which is a sound one."""
    data = rows()
    batches = iter(data)
    next(batches)
    next(batches)
    state = data.state_dict()
    rows(rng=1).load_state_dict({**state, "start": np.int64(4), "ended": np.False_})
    return state


@pytest.mark.parametrize(
    "state", [None, 3, [], "state", {}, {"figures": {}, "under_way": {}}, {1: 2}], ids=str
)
def test_no_states_at_all(state: Any) -> None:
    """Something else entirely is refused too."""
    data = rows()
    before = pickle.dumps(data.state_dict())
    with pytest.raises(ModelError, match="this is no state of Batches: it has "):
        data.load_state_dict(state)
    assert before == pickle.dumps(data.state_dict())


def test_a_state_is_a_copy() -> None:
    """Going on does not change a state that was taken, nor does using it."""
    data = rows()
    next(iter(data))
    state = data.state_dict()
    kept = pickle.dumps(state)
    other = rows(rng=9)
    other.load_state_dict(state)
    for _ in range(2):
        epoch(data)
        epoch(other)
    assert kept == pickle.dumps(state)


def test_a_state_is_the_callers() -> None:
    """Writing into a state that was taken, or that was loaded, changes no order."""
    data, other = rows(), rows(rng=9)
    batches = iter(data)
    next(batches)
    state = data.state_dict()
    other.load_state_dict(state)
    expected = [x[:, 0].tolist() for x, _ in pickle.loads(pickle.dumps(other))]
    state["order"].fill(0)
    assert expected == [x[:, 0].tolist() for x, _ in batches] == epoch(other)


def test_leaving_an_epoch_begins_a_new_one() -> None:
    """After a `break` the next loop is a whole epoch.

    Only `load_state_dict` goes on in the midst of one.
    """
    data = rows()
    for _ in data:
        break
    assert list(range(10)) == sorted(row for batch in epoch(data) for row in batch)


def test_memory_maps_are_read_batch_by_batch(tmp_path: Path) -> None:
    """Samples on disk are not loaded as a whole, and batches are plain arrays."""
    np.arange(40, dtype=np.uint8).tofile(tmp_path / "x")
    mapped = np.memmap(tmp_path / "x", np.uint8, "r", shape=(20, 2))
    data = mg.Batches(mapped, np.arange(20), 7, rng=0)
    assert np.shares_memory(mapped, data.x)
    for x, y in data:
        assert (np.ndarray, np.ndarray) == (type(x), type(y))
        assert x.flags.writeable
        assert (2 * y).tolist() == x[:, 0].tolist()


def test_indices_are_the_callers() -> None:
    """Writing into the rows of a batch changes neither what `indices` says nor a state."""
    data = rows()
    next(iter(data))
    expected, state = data.indices.tolist(), pickle.dumps(data.state_dict())
    data.indices.fill(-1)
    assert expected == data.indices.tolist()
    assert state == pickle.dumps(data.state_dict())


def test_lists_are_data() -> None:
    """Small data may be typed in."""
    data = mg.Batches([[1, 2], [3, 4]], [0, 1], 1, shuffle=False)
    assert [([[1, 2]], [0]), ([[3, 4]], [1])] == [(x.tolist(), y.tolist()) for x, y in data]


def test_its_repr_tells_sizes() -> None:
    """How many samples of which shape, and how many batches."""
    text = repr(mg.Batches(np.zeros((1438, 784)), np.zeros(1438), 50))
    assert "Batches(1,438 samples of shape (784,), 29 batches of 50)" == text


@pytest.mark.parametrize("every", [1, 2, 3, 4, 11])
def test_every_nth_sample_in_order(every: int) -> None:
    """From the first on, up to the last that fits."""
    data = rows(10, batch_size=4)
    seen = [number for x, _ in data.in_order(every) for number in x[:, 0].tolist()]
    assert list(range(0, 10, every)) == seen


def test_a_last_batch_of_one_sample() -> None:
    """It is a batch like any other."""
    data = rows(9, batch_size=4)
    assert 3 == len(data)
    assert [4, 4, 1] == [len(x) for x, _ in data]


def test_more_samples_than_a_record_can_number() -> None:
    """Rows are recorded in 32 bits, so there are no more; nothing is read to find that out."""
    for count, fits in ((2**31 - 1, True), (2**31, False), (3_000_000_000, False)):
        x, y = (np.broadcast_to(np.float32(0), shape) for shape in ((count, 2), (count,)))
        if fits:
            assert count == len(mg.Batches(x, y, 1))
        else:
            with pytest.raises(RangeError, match=f"{count:,} samples, expected at most 2,147,483"):
                mg.Batches(x, y, 1)
