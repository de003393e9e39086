"""The counts of each entry against a recount of every step by itself, over many steps and
windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.parameters.vector import Slot
from minigrad.recording import entry_counter as module
from minigrad.recording.coactivity import coactivities_of
from minigrad.recording.entry_counter import EntryCounter
from minigrad.runs.counts import Counts

SIZE = 9
SLOTS = {"a": Slot(slice(0, 4), (2, 2)), "b": Slot(slice(4, 9), (5,))}


def history(steps: int, seed: int) -> list[dict[str, np.ndarray]]:
    """Steps in which entries move now and then: some late, some once, some never, some by rounding
    never; NaN and infinity too.
    """
    rng = np.random.default_rng(seed)
    values = np.ones(SIZE, np.float32)
    told = []
    for step in range(steps):
        update = np.where(rng.random(SIZE) < 0.05, rng.normal(size=SIZE), 0).astype(np.float32)
        update[0] = 0  # never
        update[1] = 1e-12  # always swallowed
        update[2] = 1.0 if step == 2 * steps // 3 else 0  # once, late
        update[3] = -0.5 if step % 7 == 3 else 0
        if step == steps // 2:
            update[4] = np.inf
        if step == 3 * steps // 4:
            update[4] = -np.inf  # NaN from here on, which never moves again
        grads = np.where(rng.random(SIZE) < 0.7, update, 0).astype(np.float32)
        with np.errstate(invalid="ignore"):
            after = values + update
        told.append({"before": values, "after": after, "update": update, "grads": grads})
        values = after
    return told


def add(
    counts: EntryCounter, step: int, arrays: dict[str, np.ndarray], skipped: Mapping[str, str]
) -> None:
    """One step: a look at its gradients before it is written, and the rest after it."""
    counts.look((arrays["grads"],), "")
    counts.add(step, arrays["before"], arrays["after"], arrays["update"], skipped, {})


def recount(
    told: list[dict[str, np.ndarray]], skipped: list[dict[str, str]]
) -> dict[str, list[float]]:
    """Every number by plain Python, entry by entry."""
    found: dict[str, list[float]] = {
        name: [0] * SIZE for name in ("grads", "updates", "moves", "swallowed", "movement")
    }
    found |= {"first_move": [-1] * SIZE, "last_move": [-1] * SIZE}
    for step, (arrays, left_out) in enumerate(zip(told, skipped, strict=True)):
        for entry in range(SIZE):
            before, after, update, grad = (
                float(arrays[name][entry]) for name in ("before", "after", "update", "grads")
            )
            moved = before != after and not (np.isnan(before) and np.isnan(after))
            name = "a" if entry < 4 else "b"
            found["grads"][entry] += grad != 0 and name not in left_out
            found["updates"][entry] += update != 0
            found["moves"][entry] += moved
            found["swallowed"][entry] += update != 0 and not moved
            found["movement"][entry] += abs(after - before) if np.isfinite(after - before) else 0
            if moved:
                found["last_move"][entry] = step
                if found["first_move"][entry] == -1:
                    found["first_move"][entry] = step
    return found


def check(
    counted: Counts, told: list[dict[str, np.ndarray]], skipped: list[dict[str, str]]
) -> None:
    expected = recount(told, skipped)
    for name in ("grads", "updates", "moves", "swallowed", "first_move", "last_move"):
        assert getattr(counted, name).tolist() == expected[name], name
    np.testing.assert_allclose(counted.movement, expected["movement"], rtol=1e-5)
    assert counted.steps == len(told)
    for name in SLOTS:
        assert counted.frozen[name] == sum(left_out.get(name) == "frozen" for left_out in skipped)
        assert counted.unreached[name] == sum(
            left_out.get(name) == "no gradient" for left_out in skipped
        )


@sparse(
    pytest.mark.parametrize("steps", [1, 6, 64, 65, 255, 256, 700]),
    pytest.mark.parametrize("gathered", [1, 2, 7, 64]),
    every=2,
)
def test_every_count_is_that_of_a_recount(
    steps: int, gathered: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many steps are gathered before they are counted, the counts are those of each step by
    itself.
    """
    monkeypatch.setattr(module, "_ENTRIES", gathered * SIZE)
    counts = EntryCounter(SLOTS, np.dtype(np.float32), [])
    told = history(steps, seed=steps)
    kinds = [{}, {"a": "frozen"}, {"b": "no gradient", "elsewhere": "frozen"}]
    skipped = [kinds[0 if step % 5 else step % 3] for step in range(steps)]
    for step, (arrays, left_out) in enumerate(zip(told, skipped, strict=True)):
        add(counts, step, arrays, MappingProxyType(left_out))
    check(counts.counts(), told, skipped)


def test_looking_in_between_changes_nothing() -> None:
    """Counts may be read after any step, and what was read stays as it was."""
    told = history(300, seed=0)
    counts = EntryCounter(SLOTS, np.dtype(np.float32), [])
    seen: list[Counts] = []
    for step, arrays in enumerate(told):
        add(counts, step, arrays, {})
        if step % 37 == 0:
            seen.append(counts.counts())
    for counted in [*seen, counts.counts()]:
        check(counted, told[: counted.steps], [{}] * counted.steps)


def test_counts_go_on_after_those_of_an_earlier_session() -> None:
    """What another session counted is where the next one begins."""
    told = history(150, seed=1)
    first, second = (EntryCounter(SLOTS, np.dtype(np.float32), []) for _ in range(2))
    for step, arrays in enumerate(told):
        if step == 90:
            second.go_on_with(first.counts())
        add(first if step < 90 else second, step, arrays, {})
    check(second.counts(), told, [{}] * 150)


def counter_of(model: mg.Layer) -> EntryCounter:
    """What counts entries and samples of all parameters."""
    vector = mg.ParameterVector.of(model)
    layers = coactivities_of(model, vector.slots, dict(model.parameters()), coactivation=True)
    return EntryCounter(vector.slots, vector.values.dtype, layers)


def count(model: mg.Layer, counter: EntryCounter, step: int) -> None:
    """A backward is done, and a step uses its gradients, and moves nothing."""
    vector = mg.ParameterVector.of(model)
    arrival = vector.parameters[0].arrival
    assert arrival is not None
    counter.arrived(arrival, adds=False)
    counter.look((vector.computed_grads,), "")
    counter.add(step, vector.values, vector.values, np.zeros_like(vector.values), {}, {})
    vector.gradients.forget()


@pytest.mark.parametrize(
    "sizes", [[3], [255], [256], [1000], [50, 50, 50, 50, 50, 50, 7], [200, 100, 255, 1]]
)
def test_samples_are_counted_for_each_input_and_unit(sizes: list[int]) -> None:
    """Batches of any size, also of more samples than a byte can count, of inputs that are always,
    never and sometimes 0.
    """
    model = mg.Sequential(mg.Dense(4, 3, rng=0))
    counter = counter_of(model)
    rng = np.random.default_rng(0)
    inputs, units = np.zeros(4, int), np.zeros(3, int)
    met = np.zeros((4, 3), bool)
    for step, n in enumerate(sizes):
        x = rng.normal(size=(n, 4)).astype(np.float32)
        x[:, 0], x[rng.random(n) < 0.5, 1] = 0, 0
        grad = rng.normal(size=(n, 3)).astype(np.float32)
        grad[:, 2], grad[rng.random(n) < 0.9, 1] = 0, 0
        model(x)
        model.backward(grad)
        count(model, counter, step)
        inputs += [sum(float(value) != 0 for value in column) for column in x.T]
        units += [sum(float(value) != 0 for value in column) for column in grad.T]
        met |= np.array([[bool(np.any((a != 0) & (b != 0))) for b in grad.T] for a in x.T])
    weight, bias = (counter.counts().activity[name] for name in ("0.weight", "0.bias"))
    assert weight.inputs is not None
    assert (inputs.tolist(), units.tolist()) == (weight.inputs.tolist(), weight.units.tolist())
    assert bias.inputs is None
    assert units.tolist() == bias.units.tolist()
    assert weight.together is not None
    assert met.tolist() == weight.together.tolist()
    assert sum(sizes) == weight.samples == bias.samples


def test_samples_go_on_after_those_of_an_earlier_session() -> None:
    """The numbers of samples, inputs and units go on too.

    What was read of the earlier session stays as it was.
    """
    model = mg.Sequential(mg.Dense(3, 2, rng=0))
    first, second = counter_of(model), counter_of(model)
    x = np.array([[1, 0, 2], [3, 0, 0]], np.float32)
    for step, counter in enumerate((first, second)):
        if counter is second:
            before = first.counts()
            second.go_on_with(before)
        model(x)
        model.backward(np.array([[1, 0], [0, 0]], np.float32))
        count(model, counter, step)
    for samples, counts in ((2, before), (4, second.counts())):
        weight = counts.activity["0.weight"]
        assert samples == weight.samples == counts.activity["0.bias"].samples
        assert weight.inputs is not None
        assert ([samples, 0, samples // 2], [samples // 2, 0]) == (
            weight.inputs.tolist(),
            weight.units.tolist(),
        )
        assert weight.together is not None
        assert [[True, False], [False, False], [True, False]] == weight.together.tolist()
