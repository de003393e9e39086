"""Entries that moved though their gradient was always 0: counted beside the reasons, and said
first.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from recording_support import Array, Scale, bias, dense, one

import minigrad as mg
from minigrad.reason import Reason
from minigrad.runs.activity import Activity
from minigrad.runs.causes import Causes
from minigrad.runs.counts import Counts
from minigrad.runs.reason_sentences import EntrySentences
from minigrad.runs.reasons import codes_of


def decayed() -> tuple[mg.Run, npt.NDArray[np.int64]]:
    """40 steps of AdamW on inputs of which some are always 0.

    And how often each weight had a gradient, by NumPy alone.
    """
    rng = np.random.default_rng(0)
    model = mg.Sequential(mg.Dense(30, 20, rng=0), mg.Activation("relu"), mg.Dense(20, 3, rng=1))
    bias(dense(model, 0)).value = np.where(np.arange(20) < 4, -100, 0)  # four units are dead
    optimizer, loss = mg.AdamW(model), mg.SoftmaxCrossEntropy()
    counts = np.zeros((30, 20), np.int64)
    with mg.Recorder(optimizer, loss=loss) as recorder:
        for _ in range(40):
            x = rng.normal(size=(8, 30)).astype(np.float32)
            x[:, :7] = 0
            hidden = x @ dense(model, 0).weight.value + bias(dense(model, 0)).value
            loss.forward(model(x), rng.integers(0, 3, 8))
            grad = loss.backward()
            unit_grads = (grad @ dense(model, 2).weight.value.T) * (hidden > 0)
            for sample, units in zip(x, unit_grads, strict=True):
                counts += sample[:, np.newaxis] * units[np.newaxis] != 0
            model.backward(grad)
            optimizer.step()
    return recorder.run, counts


def test_what_decay_alone_moved_is_counted() -> None:
    """All entries moved, 284 of 600 by decay alone: 7 dark inputs of 20 units, and 4 dead units of
    the other 23.
    """
    run, counts = decayed()
    why = run["0.weight"].why
    alone = int(np.count_nonzero(counts == 0))
    assert 7 * 20 + 4 * 23 <= alone
    assert {Reason.MOVED: 600} == why.counts
    assert alone == why.moved_without_gradient
    assert np.array_equal(counts == 0, why.where_moved_without_gradient)
    line = " ".join(line.strip() for line in run.report().split("\n\n")[1].splitlines())
    assert line.startswith(
        f"0.weight (30, 20) float32: all 600 entries moved; {alone} of them by decay or momentum "
        f"alone: their gradient was 0 in every step"
    )
    assert f"{alone} of them without a gradient" in repr(run["0.weight"])
    assert (
        f"Of those that moved, {alone} did by decay or momentum alone: their gradient was 0 in "
        f"every step." in str(why)
    )
    assert 0 == run["2.bias"].why.moved_without_gradient
    assert "alone" not in run.report().split("2.bias")[1]


def test_html_and_notebook_say_it_too(tmp_path: Path) -> None:
    """The same count stands in the page, in the notebook's table, and beside the parameter's
    history.
    """
    run, counts = decayed()
    run.save_report(tmp_path / "run.html")
    said = (
        f"{np.count_nonzero(counts == 0)} of them by decay or momentum alone: "
        "their gradient was 0 in every step"
    )
    for html in ((tmp_path / "run.html").read_text("utf-8"), run._repr_html_()):
        assert said in re.sub(r"<[^>]+>", "", html)
    assert (
        f"{np.count_nonzero(counts == 0)} of them without a gradient"
        in run["0.weight"]._repr_html_()
    )


def test_some_moved_without_a_gradient_and_some_never() -> None:
    """Where a value of 0 does not decay, the first line has all three counts."""
    model = mg.Sequential(mg.Dense(3, 1, init="ones"))
    dense(model, 0).weight.value = [[0], [1], [1]]
    with mg.Recorder(mg.SGD(model, 0.1, weight_decay=0.1)) as recorder:
        one(model, recorder.optimizer, [[0, 0, 1]], [[1]])
    assert (
        "0.weight (3, 1) float32: 2 of 3 entries moved, 1 of them by decay or momentum alone: "
        "their gradient" in recorder.run.report()
    )
    assert "was 0 in every step; 1 never did:" in recorder.run.report()
    assert 1 == recorder.run["0.weight"].why.moved_without_gradient


class Drift(mg.Optimizer):
    """Adds 1 to every entry, whatever the gradient: nothing of decay or momentum."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        update[...] = 1


def test_the_cause_is_claimed_only_of_optimizers_that_are_known() -> None:
    """What an optimizer of one's own adds may be anything: only its name is said."""
    model = mg.Sequential(mg.Dense(2, 1, rng=0))
    with mg.Recorder(Drift(model, 1.0)) as recorder:
        one(model, recorder.optimizer, [[0, 1]], [[1]])
    assert "decay" not in recorder.run.report()
    assert "1 of them by Drift alone: their gradient was 0 in" in recorder.run.report()
    assert "by Drift alone, its gradient was always 0" in recorder.run["0.weight"].why.at(0, 0)


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_writes_of_others_are_a_possible_cause() -> None:
    """Where a note says that somebody else wrote into this parameter, decay is not the only thing
    that may have moved it.
    """
    model = mg.Sequential(mg.Dense(2, 1, rng=0), mg.Dense(1, 1, rng=0))
    with mg.Recorder(mg.SGD(model, 0.1, weight_decay=0.1)) as recorder:
        for step in range(3):
            if step == 1:
                dense(model, 0).weight.value = [[5], [5]]
            one(model, recorder.optimizer, [[0, 1]], [[1]])
    assert "decay, momentum or a write by others alone" in recorder.run["0.weight"].why.at(0, 0)


@pytest.mark.parametrize(
    ("optimizer", "written", "movers", "stoppers"),
    [
        (
            "SGD(lr=0.1, 28 entries)",
            False,
            "decay or momentum",
            "a learning rate of 0, clipping, or underflow",
        ),
        (
            "AdamW(lr=0.001 by pattern, ClipNorm, MaxNorm, 79,510 entries)",
            False,
            "decay, momentum or the transform MaxNorm",
            "a learning rate of 0, clipping, the transform MaxNorm, or underflow",
        ),
        (
            "SGD(lr=CosineDecay, GradientNoise, Mask, shrink, 7 entries)",
            False,
            "decay, momentum, the transform GradientNoise or the transform shrink",
            (
                "a learning rate of 0, clipping, the transform GradientNoise, the transform Mask, "
                "the transform shrink, or underflow"
            ),
        ),
        (
            "Mine(lr=1, 3 entries)",
            True,
            "Mine or a write by others",
            "a learning rate of 0, clipping, Mine, or underflow",
        ),
        (
            "my words",
            False,
            "my words or a transform",
            "a learning rate of 0, clipping, a transform, my words, or underflow",
        ),
    ],
)
def test_causes_by_the_text_of_the_optimizer(
    optimizer: str, written: bool, movers: str, stoppers: str
) -> None:
    """Transforms that the record names are possible causes.

    Clipping makes no update, and a mask takes it away.
    """
    causes = Causes.of(optimizer, written)
    assert (movers, stoppers) == (causes.movers, causes.stoppers)


def test_optimizers_that_come_with_minigrad_are_read_right() -> None:
    """Their own text says that they have no transform, so none is named."""
    model = mg.Sequential(mg.Dense(2, 1, rng=0))
    makers: list[Callable[..., mg.Optimizer]] = [mg.SGD, mg.Adam, mg.AdamW, mg.RMSprop]
    for make in makers:
        for lr in (0.1, lambda step: 0.1, mg.CosineDecay(0.1, 10)):
            assert "decay or momentum" == Causes.of(repr(make(model, lr)), False).movers


# -- entries that are frozen by themselves, and gradients that were changed by hand --------------


def counted(shape: tuple[int, int], steps: int = 4, **counts: object) -> Counts:
    """A tally of one parameter "w" in which nothing happened, but for these counts."""
    size = shape[0] * shape[1]
    nothing = {name: np.zeros(size, np.int64) for name in ("grads", "updates", "moves")}
    never = {name: np.full(size, -1) for name in ("first_move", "last_move")}
    settings = {"frozen": {"w": 0}, "unreached": {"w": 0}, **nothing, **never, **counts}
    return Counts(movement=np.zeros(size), steps=steps, **settings)  # type: ignore[arg-type]


def told(tally: Counts, shape: tuple[int, int]) -> tuple[list[list[str]], EntrySentences]:
    """The reasons by name, and the sentences."""
    slot = mg.ParameterVector.of(mg.Sequential(mg.Dense(*shape, bias=False))).slots["0.weight"]
    values = np.ones(shape, np.float32)
    codes = codes_of("w", slot, tally, values, values)
    reasons = [[list(Reason)[code].name for code in row] for row in codes.tolist()]
    return reasons, EntrySentences("w", slot, tally, values, values, Causes("SGD", (), False))


def test_entries_that_are_frozen_by_themselves() -> None:
    """Frozen in all steps is FROZEN.

    In some, the furthest gate counts, and activity while it was frozen proves nothing.
    """
    both = Activity(np.array([0, 3]), np.array([5, 5, 5]), None, 8)
    held = np.array([4, 2, 0, 4, 2, 0])  # of 4 steps, two inputs and three units
    reasons, sentences = told(
        counted((2, 3), frozen_entries={"w": held}, activity={"w": both}), (2, 3)
    )
    assert [
        ["FROZEN", "INPUT_ZERO", "INPUT_ZERO"],
        ["FROZEN", "GRADIENT_ZERO", "NEVER_TOGETHER_OR_CANCELLED"],
    ] == reasons
    assert "w[0, 0] never moved: it was frozen in all 4 steps." == sentences.sentence(
        (0, 0), Reason.FROZEN
    )
    assert (
        "w[1, 1] never moved: its gradient was 0 in all 4 steps; it was frozen in 2 of them."
        == sentences.sentence((1, 1), Reason.GRADIENT_ZERO)
    )


def test_entries_that_are_frozen_with_their_parameter_in_the_other_steps() -> None:
    """Steps in which the whole parameter was frozen, or not reached, count for its entries too."""
    held = {"w": np.array([3, 2, 1, 0])}
    reasons, _ = told(counted((2, 2), frozen={"w": 1}, frozen_entries=held), (2, 2))
    assert [["FROZEN", "GRADIENT_ZERO"], ["GRADIENT_ZERO", "GRADIENT_ZERO"]] == reasons
    reasons, _ = told(counted((2, 2), unreached={"w": 1}, frozen_entries=held), (2, 2))
    assert [["NO_GRADIENT", "GRADIENT_ZERO"], ["GRADIENT_ZERO", "GRADIENT_ZERO"]] == reasons
    moved = counted(
        (2, 2), frozen_entries=held, grads=np.array([1, 1, 0, 0]), updates=np.array([1, 0, 0, 0])
    )
    assert [["SWALLOWED", "UPDATE_ZERO"], ["GRADIENT_ZERO", "GRADIENT_ZERO"]] == told(
        moved, (2, 2)
    )[0]


@pytest.mark.parametrize(
    "why", ["its gradient was changed after backward", "several backwards went into one step"]
)
def test_a_gradient_that_is_not_explained_says_why(why: str) -> None:
    """The sentence of an entry whose gradient was 0 says why its input and unit are not told."""
    reasons, sentences = told(counted((1, 2), unexplained={"w": why}), (1, 2))
    assert [["GRADIENT_ZERO", "GRADIENT_ZERO"]] == reasons
    assert (
        f"w[0, 1] never moved: its gradient was 0 in all 4 steps (inputs and units are not told "
        f"apart: {why})." == sentences.sentence((0, 1), Reason.GRADIENT_ZERO)
    )


def test_the_report_says_why_too(tmp_path: Path) -> None:
    """In text and HTML, of a gradient that was assigned by hand and of a layer that does not
    explain itself.
    """
    model = mg.Sequential(mg.Dense(2, 2, rng=0), Scale(2))
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        model.backward(np.ones_like(model(np.ones((1, 2)))))
        dense(model, 0).weight.grad = np.zeros((2, 2))
        recorder.optimizer.step()
    run = recorder.run
    run.save_report(tmp_path / "run.html")
    (line,) = [line for line in run.report().splitlines() if "not told apart" in line]
    problem = line.removeprefix("    Inputs and units are not told apart: ").removesuffix(".")
    assert f"(inputs and units are not told apart: {problem})" in run["0.weight"].why.at(0, 0)
    assert f"Inputs and units are not told apart: {problem}." in (tmp_path / "run.html").read_text(
        "utf-8"
    )
