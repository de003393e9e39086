"""`first_difference` of two runs of which one holds tensors that the other does not."""

from __future__ import annotations

import pytest
from recording_support import dense, network, train

import minigrad as mg


def run(rows: bool, shifted: float = 0.0) -> mg.Run:
    """Six steps, with their updates or with the counts alone; a weight may be shifted before one of
    them.
    """
    model = network(5, 3)
    optimizer = mg.SGD(model, 0.1)

    def act(step: int) -> None:
        if step == 4:
            dense(model, 0).weight.value[2, 1] += shifted

    with mg.Recorder(optimizer, keep=("update",) if rows else ()) as recorder:
        train(model, optimizer, 6, act)
    return recorder.run


def test_updates_beside_counts() -> None:
    """What both know is compared: the values after the last step, where one has no updates."""
    assert run(rows=True).first_difference(run(rows=False)) is None
    assert run(rows=False).first_difference(run(rows=True)) is None


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_where_updates_part_from_counts() -> None:
    """The last step, which both know, the entry and both values."""
    found = run(rows=True).first_difference(run(rows=False, shifted=0.5))
    assert found is not None
    assert (5, "0.weight", (2, 1), "value") == (found.step, found.name, found.index, found.what)
    assert 0.5 == pytest.approx(found.there - found.here, rel=1e-5)
