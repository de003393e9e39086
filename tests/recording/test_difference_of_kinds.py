"""`first_difference` of two runs of which one holds tensors that the other does not."""

from __future__ import annotations

import pytest
from recording_support import dense, network, train

import minigrad as mg


def run(rows: bool, shifted: float = 0.0, steps: int = 6) -> mg.Run:
    """Some steps, with their updates or with the counts alone; a weight may be shifted before the
    fifth.
    """
    model = network(5, 3)
    optimizer = mg.SGD(model, 0.1)

    def act(step: int) -> None:
        if step == 4:
            dense(model, 0).weight.value[2, 1] += shifted

    with mg.Recorder(optimizer, keep=("update",) if rows else ()) as recorder:
        train(model, optimizer, steps, act)
    return recorder.run


@pytest.mark.parametrize("steps", [1, 6])
def test_updates_beside_counts(steps: int) -> None:
    """What both know is compared: the values after the last step, where one has no updates."""
    of_rows, of_counts = run(rows=True, steps=steps), run(rows=False, steps=steps)
    assert of_rows.first_difference(of_counts) is None
    assert of_counts.first_difference(of_rows) is None


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_where_updates_part_from_counts() -> None:
    """The last step, which both know, the entry and both values."""
    found = run(rows=True).first_difference(run(rows=False, shifted=0.5))
    assert found is not None
    assert (5, "0.weight", (2, 1), "value") == (found.step, found.name, found.index, found.what)
    assert 0.5 == pytest.approx(found.there - found.here, rel=1e-5)
