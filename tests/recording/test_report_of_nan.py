"""Runs that became NaN or infinite: said before anything else, with the step, the counts and the
parameters.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from loop_support import take_step
from recording_support import Array, bias, dense, one

import minigrad as mg
from minigrad.display import drawing
from minigrad.runs.nan_loss import is_nan_loss, kept_loss

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the trainings overflow


def blown_up(**settings: Any) -> tuple[mg.Run, list[float], list[Array]]:
    """A regression with a rate that is far too high: the run, each step's loss, and the weight
    after each step.
    """
    x = np.arange(1.0, 9).reshape(8, 1)
    model = mg.Sequential(mg.Dense(1, 1, rng=0))
    optimizer, loss = mg.SGD(model, lr=1e3), mg.MeanSquaredError()
    losses, weights = [], []
    with mg.Recorder(optimizer, loss=loss, **settings) as recorder:
        for _ in range(20):
            losses.append(take_step(model, loss, optimizer, x, 2 * x))
            weights.append(dense(model, 0).weight.value.copy())
    return recorder.run, losses, weights


def first_bad(values: list[Any]) -> int:
    """The first step in which something is NaN or infinite, by a plain loop."""
    return next(step for step, value in enumerate(values) if not np.isfinite(value).all())


def test_the_loss_that_blew_up_is_said_first() -> None:
    """The first lines have the first step in which the loss was not finite, and that the values are
    NaN at the end.
    """
    run, losses, weights = blown_up()
    first, *rest = run.report().splitlines()
    bad = first_bad(losses)
    assert f"NaN or infinity appeared in step {bad}." == first
    count = sum(not np.isfinite(loss) for loss in losses)
    assert (
        f"    The loss was infinite in step {bad}, and NaN or infinite in {count} of 20 steps."
        == rest[0]
    )
    assert (
        f"    After step {first_bad(weights)}, 2 of 2 values were NaN or infinite, of 0.weight, "
        f"0.bias; at the end 2 are NaN:" == rest[1]
    )
    assert f"loss {losses[0]:.4g} at the first and NaN at the last" in run.report()
    assert "0.weight (1, 1) float32: its one entry moved; at the end 1 is NaN" in run.report()
    found = run.first_non_finite
    assert found is not None
    assert (bad, "loss", 0, (), True) == tuple(found)


def test_an_entry_that_is_nan_is_not_just_moved() -> None:
    """Its sentence says since when it has been NaN.

    It was infinite before, which is another step.
    """
    run, _, weights = blown_up()
    nan = next(step for step, weight in enumerate(weights) if np.isnan(weight).all())
    assert f"0.weight[0, 0] has been NaN since step {nan}: it moved in" in run["0.weight"].why.at(
        0, 0
    )
    assert "At the end 1 is NaN." in str(run["0.weight"].why)


def data_with_a_hole(**settings: Any) -> mg.Run:
    """Six steps of finite numbers but for one NaN in the input of step 3.

    The third input is always 0.
    """
    rng = np.random.default_rng(0)
    model = mg.Sequential(mg.Dense(3, 2, rng=0))
    with mg.Recorder(mg.SGD(model, 0.1), **settings) as recorder:
        for step in range(6):
            x = rng.normal(size=(4, 3))
            x[:, 2] = 0
            if step == 3:
                x[0, 1] = np.nan
            one(model, recorder.optimizer, x, rng)
    return recorder.run


@sparse(
    pytest.mark.parametrize(
        ("settings", "step", "exact"),
        [
            ({}, 3, True),
            ({"keyframe_every": 2}, 3, True),
            ({"keep": ()}, 3, False),
            ({"every": 5}, 3, False),
            ({"aggregates": False}, 3, True),
            ({"aggregates": False, "keep": ()}, 5, False),
            ({"aggregates": False, "every": 4}, 4, False),
            ({"aggregates": False, "keep": ("grad",), "keyframe_every": 2}, 3, False),
        ],
        ids=str,
    ),
    pytest.mark.parametrize("on_disk", [False, True]),
    every=2,
)
def test_where_values_became_nan(
    settings: dict[str, Any], step: int, exact: bool, on_disk: bool, tmp_path: Path
) -> None:
    """The first step by what the record holds: rows, counts or keyframes.

    Where there may be an earlier one, it says so.
    """
    run = data_with_a_hole(path=tmp_path / "run" if on_disk else None, **settings)
    found = run.first_non_finite
    assert found is not None
    assert (step, "value", exact) == (found.step, found.what, found.exact)
    assert ("0.weight",) == found.names[:1]
    first, second, *_ = run.report().splitlines()
    assert f"NaN or infinity appeared in step {step}{'' if exact else ', or earlier'}." == first
    assert second.startswith(f"    After step {step}{'' if exact else ' at the latest'}, ")


def test_a_loss_that_is_nan_while_all_values_are_finite() -> None:
    """A loss that was NaN is told from one that was not given, in memory and in words."""
    model = mg.Sequential(mg.Dense(2, 1, rng=0))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        for loss in (1.5, None, np.nan, 0.5, np.nan):
            model.backward(np.ones_like(model(np.ones((1, 2)))))
            optimizer.step(loss=loss)
    run = recorder.run
    first, second, third, *_ = run.report().splitlines()
    assert "NaN or infinity appeared in step 2, or earlier." == first  # in step 1 no loss was given
    assert "    The loss was NaN in step 2, and NaN or infinite in 2 of 5 steps." == second
    assert "loss 1.5 at the first and NaN at the last" in third
    assert [False, True, True, False, True] == np.isnan(run.loss).tolist()
    assert [False, False, True, False, True] == is_nan_loss(run.loss).tolist()


def test_a_loss_that_is_not_given_is_no_nan() -> None:
    """Without losses nothing is said of them; where only the last one is missing, that is said."""
    model = mg.Sequential(mg.Dense(2, 1, rng=0))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        model.backward(np.ones_like(model(np.ones((1, 2)))))
        optimizer.step()
        assert "loss" not in recorder.run.report()
        for loss in (2.0, None):
            model.backward(np.ones_like(model(np.ones((1, 2)))))
            optimizer.step(loss=loss)
    assert recorder.run.first_non_finite is None
    assert "loss not given at the first and not given at the last" in recorder.run.report()


def test_no_calculation_gives_the_nan_of_a_loss() -> None:
    """Whatever NaN arithmetic makes, it is not taken for a loss that was kept as NaN.

    And what is kept is.
    """
    with np.errstate(all="ignore"):
        made = np.array(
            [
                np.nan,
                -np.nan,
                np.inf - np.inf,
                np.float64(0) / 0,
                np.sqrt(np.float64(-1)),
                float("nan"),
            ]
        )
    assert not is_nan_loss(made).any()
    assert is_nan_loss(np.array([kept_loss(float(one)) for one in made])).all()
    assert [False, False, False] == is_nan_loss(
        np.array([kept_loss(None), kept_loss(1.0), kept_loss(np.inf)])
    ).tolist()


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
def test_nan_that_somebody_wrote() -> None:
    """NaN that was assigned between two steps is said to be so, also if it was mended before the
    end.
    """
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    weight, optimizer = dense(model, 0).weight, mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        for step in range(5):
            if step in (2, 4):
                weight.value = [[np.nan, 1], [1, 1]] if step == 2 else np.ones((2, 2))
                bias(dense(model, 0)).value = [0, 0]
            one(model, optimizer, [[1, 1]], [[1, 1]])
    found = recorder.run.first_non_finite
    assert found is not None
    assert (2, "write", 1, ("0.weight",), True) == tuple(found)
    first, *rest = recorder.run.report().splitlines()
    assert "NaN or infinity appeared before step 2." == first
    said = (
        "By a write of others before step 2, 1 of 6 values were NaN or infinite, of 0.weight; "
        "at the end none is."
    )
    assert said in " ".join(line.strip() for line in rest)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_before_the_first_step(value: float) -> None:
    """What was not finite before the first step is said to be so.

    An update that cannot change it is no rounding.
    """
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    dense(model, 0).weight.value = [[value, 1], [1, 1]]
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        model(np.zeros((1, 2)))
        one(model, recorder.optimizer, [[0, 1]], [[1, 1]])
        dense(model, 0).weight.grad = np.ones((2, 2))
        recorder.optimizer.step()
    run = recorder.run
    assert "NaN or infinity appeared before the first step." == run.report().splitlines()[0]
    assert "0.weight (2, 2) float32: 3 of 4 entries moved; at the end 1 is" in run.report()
    assert "    1  no update changes what is NaN or infinite" in run.report()
    assert "rounding" not in run.report()
    kind = "NaN" if np.isnan(value) else "infinite"
    assert (
        f"0.weight[0, 0] never moved: it was {kind} before the first step, which none of its 1 "
        f"update that was not 0 changed." == run["0.weight"].why.at(0, 0)
    )


def test_a_finite_run_says_nothing_of_nan(tmp_path: Path) -> None:
    """Where all is finite, no report mentions NaN."""
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        one(model, recorder.optimizer, [[1, 1]], [[1, 1]])
    run = recorder.run
    run.save_report(tmp_path / "run.html")
    assert run.first_non_finite is None
    for text in (
        run.report(),
        run._repr_html_(),
        (tmp_path / "run.html").read_text("utf-8").split("<body>")[1],
    ):
        assert "NaN" not in text


def test_html_and_notebook_say_it_first(tmp_path: Path) -> None:
    """The page and the notebook begin with the same sentence as the text."""
    run, losses, _ = blown_up()
    run.save_report(tmp_path / "run.html")
    said = f"NaN or infinity appeared in step {first_bad(losses)}."
    page = re.sub(r"<[^>]+>", "\n", (tmp_path / "run.html").read_text("utf-8").split("</h1>")[1])
    notebook = re.sub(r"<[^>]+>", "\n", run._repr_html_())
    for text in (page, notebook):
        assert said == next(line for line in text.splitlines() if line.strip())
        assert "t the end 1 is NaN" in text


def test_pictures_mark_what_is_nan() -> None:
    """A cross in text, and one color in the PNG, exactly where the value is NaN or infinite.

    The legend says so.
    """
    model = mg.Sequential(mg.Dense(2, 3, rng=0))
    with mg.Recorder(mg.SGD(model, 1.0)) as recorder:
        for grad in ([[1, 2, 3], [0, 4, 5]], [[np.nan, 2, np.inf], [0, 4, 5]]):
            model.backward(model(np.ones((1, 2))))
            dense(model, 0).weight.grad = grad
            recorder.optimizer.step()
    history = recorder.run["0.weight"]
    *rows, legend = history.picture().splitlines()
    assert ["×", "×"] == [rows[0][0], rows[0][2]]
    assert 2 == "".join(rows).count("×")
    assert "·" == rows[1][0]
    assert legend.endswith("; at the end 1 is NaN and 1 is infinite, drawn as ×")
    found = drawing.diverging(history.final, ~history.moved, 1.0)
    assert [[True, False, True], [False] * 3] == (found == drawing.STRANGE).all(axis=2).tolist()


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
@pytest.mark.parametrize("pause", [False, True])
def test_nan_may_have_come_and_gone_while_nothing_was_recorded(pause: bool) -> None:
    """After a gap it is never said that there was no NaN before; writes that come later and are
    known do not change that.
    """
    model = mg.Sequential(mg.Dense(1, 1, rng=0))
    weight, optimizer = dense(model, 0).weight, mg.SGD(model, 0.1)
    recorder = mg.Recorder(optimizer, aggregates=False)
    with recorder:
        one(model, optimizer, [[1]], [[1]])
    if pause:
        weight.value = [[np.nan]]
        one(model, optimizer, [[1]], [[1]])
        weight.value = [[1.0]]
        bias(dense(model, 0)).value = [0.0]
    with recorder:
        one(model, optimizer, [[1]], [[1]])
        weight.value = [[2.0]]
        one(model, optimizer, [[1]], [[1]])
        one(model, optimizer, [[np.inf]], [[1]])
    found = recorder.run.first_non_finite
    assert found is not None
    assert (4 if pause else 3, not pause) == (found.step, found.exact)


def test_nan_in_the_very_first_step() -> None:
    """It came in that step, not before it."""
    model = mg.Sequential(mg.Dense(1, 1, rng=0))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        one(model, optimizer, [[1]], [[np.inf]])
    found = recorder.run.first_non_finite
    assert found is not None
    assert (0, "value", 2, True) == (found.step, found.what, found.entries, found.exact)
    first, second, *_ = recorder.run.report().splitlines()
    assert "NaN or infinity appeared in step 0." == first
    assert second.startswith("    After step 0, 2 of 2 values were NaN or infinite")
