"""Restoring runs of a part of a model, whose names are those of the whole model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from recording_support import flat, network, same, train

import minigrad as mg
from minigrad.errors import ModelError
from minigrad.runs.record import Record


def of_a_part() -> tuple[mg.Run, mg.Sequential]:
    """A run of the last layer of 5-4-3, with the names that the whole model has for it: "2.weight",
    "2.bias".
    """
    model = network(5, 4, 3)
    last = model[2:]
    optimizer = mg.SGD(last, 0.1)
    with mg.Recorder(optimizer) as recorder:
        train(last, optimizer, 4, n_in=4)
    run = recorder.run
    record: Record = vars(run)["_record"]
    slots = {f"2.{name.split('.')[1]}": slot for name, slot in record.slots.items()}
    return mg.Run(replace(record, slots=slots)), model


def test_a_part_is_restored_into_the_part() -> None:
    """By the names that its parameters have in the whole; nothing else of the model changes."""
    run, model = of_a_part()
    assert ("2.weight", "2.bias") == run.names
    before = flat(model[:2]).copy()
    other = network(5, 4, 3, seed=7)
    for target in (model, other):
        run.restore(target[2:], 1)
        assert same(run["2.weight"].value(1), dict(target.parameters())["2.weight"].value)
    run.restore(model[2:])
    assert same(run["2.bias"].final, dict(model.parameters())["2.bias"].value)
    assert same(before, flat(model[:2]))


def test_a_part_is_restored_into_the_whole_if_asked() -> None:
    """With strict=False what the run does not have stays as it is.

    Without, an error says both ways.
    """
    run, _ = of_a_part()
    other = network(5, 4, 3, seed=7)
    before = flat(other).copy()
    with pytest.raises(
        ModelError, match=r"different are 0\.bias, 0\.weight; .* model\[a:b\], or give strict=False"
    ):
        run.restore(other, 1)
    assert same(before, flat(other))
    run.restore(other, 1, strict=False)
    assert same(run["2.weight"].value(1), dict(other.parameters())["2.weight"].value)
    assert same(before[:24], flat(other)[:24])


def test_another_part_is_refused() -> None:
    """A run of the last layer does not fit the first one, also where nothing is strict."""
    run, model = of_a_part()
    before = flat(model).copy()
    for strict in (True, False):
        with pytest.raises(ModelError, match=r"different are"):
            run.restore(model[:2], strict=strict)
    assert same(before, flat(model))


def normalized(seed: int) -> mg.Sequential:
    """Two blocks with running statistics, of the same shapes."""
    rng = np.random.default_rng(seed)
    return mg.Sequential(
        mg.Dense(4, 4, rng=rng),
        mg.BatchNorm(4),
        mg.Dense(4, 4, rng=rng),
        mg.BatchNorm(4),
        mg.Dense(4, 2, rng=rng),
    )


def test_running_statistics_of_a_part() -> None:
    """They come back into the part.

    Into a whole in which their place is not known they are refused, not put elsewhere.
    """
    model = normalized(0)
    last = model[2:]
    optimizer = mg.SGD(last, 0.1)
    with mg.Recorder(optimizer) as recorder:
        train(last, optimizer, 4, n_in=4)
    record: Record = vars(recorder.run)["_record"]
    names = {
        name: f"{int(name[0]) + 2}{name[1:]}" if name[0] in "012" else name for name in record.slots
    }
    if (
        "2.weight" in record.slots and "0.weight" not in record.slots
    ):  # they are those of the whole already
        names = dict(zip(record.slots, record.slots, strict=True))
    run = mg.Run(replace(record, slots={names[name]: slot for name, slot in record.slots.items()}))
    other = normalized(1)
    run.restore(other[2:])
    x = np.ones((3, 4), np.float32)
    assert same(last.predict(x), other[2:].predict(x))
    third = normalized(2)
    before = third.state_dict()
    buffers = set(record.kept.buffers[-1])
    if buffers == {
        "1.running_mean",
        "1.running_var",
    }:  # by the names of the part: "1." is another layer of the whole
        with pytest.raises(
            ModelError, match=r"where '1\.running_mean' of the run belongs in this larger model"
        ):
            run.restore(third, strict=False)
        assert all(same(before[name], array) for name, array in third.state_dict().items())
    else:
        run.restore(third, strict=False)
        assert same(last.predict(x), third[2:].predict(x))
