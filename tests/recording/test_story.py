"""The story: a layer that seems frozen in NumPy's print, and what the record says.

As examples/frozen_layer.py.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from case_support import slow

import minigrad as mg
from minigrad import Reason

needs_mnist = pytest.mark.skipif(
    not os.environ.get("MINIGRAD_DATA"),
    reason="MINIGRAD_DATA is not set: it names the directory of MNIST's four files",
)


class Story(NamedTuple):
    """What the person of the story had, and what the recorder saw."""

    before: npt.NDArray[np.floating]
    after: npt.NDArray[np.floating]
    x_train: npt.NDArray[np.float32]
    accuracy: float
    run: mg.Run
    model: mg.Sequential


def tell(
    data: str, dtype: npt.DTypeLike, rate: float, epochs: int, keep: tuple[str, ...] = ("update",)
) -> Story:
    """The story's network and training, exactly as in the example."""
    rng = np.random.default_rng(0)
    load = mg.datasets.load_mnist if data == "mnist" else mg.datasets.load_digits
    x_train, y_train, x_test, y_test = load()
    weights = mg.init.uniform(-0.5, 0.5)
    first = mg.Dense(784, 10, init=weights, dtype=dtype, rng=rng)
    model = mg.Sequential(
        first, mg.Activation("sigmoid"), mg.Dense(10, 10, init=weights, dtype=dtype, rng=rng)
    )
    loss = mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, lr=rate)
    batches = mg.Batches(x_train, y_train, batch_size=50, rng=rng)
    before = first.weight.value.copy()
    with mg.Recorder(
        optimizer, loss=loss, data=batches, coactivation=True, budget="2GB", keep=keep
    ) as recorder:
        for _ in range(epochs):
            for x, y in batches:
                loss.forward(model(x), y)
                model.backward(loss.backward())
                optimizer.step()
    accuracy = float((model.predict(x_test).argmax(axis=1) == y_test).mean())
    return Story(before, first.weight.value.copy(), x_train, accuracy, recorder.run, model)


@pytest.fixture(scope="module", params=["float32", slow("float64")])
def digits(request: pytest.FixtureRequest) -> Story:
    """The story on the bundled digits."""
    return tell("digits", request.param, 0.3, 20)


def dark_inputs(story: Story) -> npt.NDArray[np.bool_]:
    """The columns of the training data that are 0 in every row, from the data themselves."""
    return np.asarray(np.abs(story.x_train).max(axis=0) == 0)


def test_it_learns(digits: Story) -> None:
    """The network really learns: at least 85 % of the digits that it never saw."""
    assert digits.accuracy >= 0.85
    losses = digits.run.loss
    assert losses[-29:].mean() < 0.5 * losses[:29].mean()


def test_the_print_shows_no_change(digits: Story) -> None:
    """NumPy prints the first layer before and after as the same text, to the byte, though most of
    it moved.
    """
    assert str(digits.before) == str(digits.after)
    assert repr(digits.before) == repr(digits.after)
    assert (digits.before != digits.after).mean() > 0.5


def test_the_reasons_come_from_the_data(digits: Story) -> None:
    """The entries with INPUT_ZERO are those of the columns that are 0 in the data, 10 for each.

    The counts add up.
    """
    dark = dark_inputs(digits)
    why = digits.run["0.weight"].why
    assert dark.sum() > 100
    assert why.counts[Reason.INPUT_ZERO] == 10 * int(dark.sum())
    np.testing.assert_array_equal(
        why.where(Reason.INPUT_ZERO), np.repeat(dark[:, np.newaxis], 10, axis=1)
    )
    for name in digits.run:
        assert sum(digits.run[name].why.counts.values()) == digits.run[name].size
    assert Reason.UNKNOWN not in why.counts
    samples = f"{20 * 1438:,} samples"
    assert f"its input 0 was 0 in all {samples}" in why.at(0, 3)


def test_what_moved_is_what_differs(digits: Story) -> None:
    """Moved or came back: the two make up what the record calls moved, and only MOVED differs in
    the end.
    """
    history = digits.run["0.weight"]
    differs = digits.before != digits.after
    np.testing.assert_array_equal(history.why.where(Reason.MOVED), differs)
    np.testing.assert_array_equal(history.moved, differs | history.why.where(Reason.RETURNED))


def test_every_update_is_there_and_replays(digits: Story) -> None:
    """All 580 steps are recorded and exact: replayed from the first value they give the last, bit
    for bit.
    """
    run = digits.run
    assert len(run.steps) == 580
    assert run.gaps == ()
    assert run.notes == ()
    assert run.verify().checked == 580
    value = run["0.weight"].initial
    assert value.tobytes() == digits.before.tobytes()
    for update in run["0.weight"].updates:
        value += update
    assert value.tobytes() == digits.after.tobytes()
    seen = np.sort(np.concatenate([run.indices(step) for step in range(29)]))
    np.testing.assert_array_equal(seen, np.arange(1438))


def test_the_report_tells_it(digits: Story) -> None:
    """The report says how many moved and how many did not, why, and what NumPy's print hides."""
    text = digits.run.report()
    dark = int(dark_inputs(digits).sum())
    moved = int(digits.run["0.weight"].moved.sum())
    assert (
        f"0.weight (784, 10) {digits.before.dtype}: {moved:,} of 7,840 entries moved; "
        f"{7840 - moved:,} never did:" in text
    )
    assert re.search(
        rf"^ +{10 * dark:,}  their input was 0 in every sample \({dark} inputs\)$",
        text,
        re.MULTILINE,
    )
    assert (
        "NumPy's print of this parameter shows 36 entries; none of them moved, so it looks "
        "unchanged." in text
    )
    picture = digits.run["0.weight"].picture(unit=3, shape=(28, 28)).splitlines()
    assert [len(line) for line in picture[:28]] == [28] * 28
    assert picture[0] == "·" * 28


def test_restoring_an_early_step_forgets(digits: Story) -> None:
    """The model of step 0 predicts badly, that of the last step as it did."""
    _, _, x_test, y_test = mg.datasets.load_digits()
    final = digits.model.state_dict()
    digits.run.restore(digits.model, 0)
    assert (digits.model.predict(x_test).argmax(axis=1) == y_test).mean() < 0.5
    digits.run.restore(digits.model)
    assert (digits.model.predict(x_test).argmax(axis=1) == y_test).mean() == digits.accuracy
    for name, array in digits.model.state_dict().items():
        assert array.tobytes() == final[name].tobytes()


@pytest.mark.slow
@needs_mnist
def test_mnist_in_float64() -> None:
    """On MNIST in float64 exactly 670 entries of the first layer never change, and 7,170 do."""
    story = tell("mnist", np.float64, 0.01, 20, keep=())
    history = story.run["0.weight"]
    assert int((~history.moved).sum()) == int((story.before == story.after).sum()) == 670
    assert int(history.moved.sum()) == 7170
    assert history.why.counts == {Reason.INPUT_ZERO: 670, Reason.MOVED: 7170}
    assert int(dark_inputs(story).sum()) == 67
    assert repr(story.before) == repr(story.after)
    assert 0.855 <= story.accuracy <= 0.895


@pytest.mark.slow
@needs_mnist
def test_mnist_in_float32() -> None:
    """In float32 exactly 670 entries had a dark input, a handful more did not move or came back,
    and each is told apart.
    """
    story = tell("mnist", np.float32, 0.01, 20, keep=())
    why = story.run["0.weight"].why
    assert why.counts[Reason.INPUT_ZERO] == 670
    assert 670 <= int((story.before == story.after).sum()) <= 676
    assert 670 <= 7840 - why.counts[Reason.MOVED] <= 676
    assert set(why.counts) <= {
        Reason.INPUT_ZERO,
        Reason.NEVER_TOGETHER,
        Reason.SWALLOWED,
        Reason.RETURNED,
        Reason.MOVED,
    }
    assert sum(why.counts.values()) == 7840
    assert repr(story.before) == repr(story.after)
    assert 0.855 <= story.accuracy <= 0.895
