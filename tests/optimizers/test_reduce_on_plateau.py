"""`ReduceOnPlateau` against PyTorch's sequences, a second implementation, and by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from optimizing_support import model_of

import minigrad as mg
from minigrad.errors import KindError, RangeError, UnknownNameError

LOSSES = [((7 * i * i + 3 * i) % 23) / 23 + 4 / (1 + i) for i in range(40)]
"""Falls from 4, less and less, and jumps about."""


def plateau_of(lr: float = 1.0, **settings: Any) -> tuple[mg.Optimizer, mg.ReduceOnPlateau]:
    optimizer = mg.SGD(model_of(), lr)
    return optimizer, mg.ReduceOnPlateau(optimizer, **settings)


def rates(figures: list[float], lr: float = 1.0, **settings: Any) -> list[float]:
    """The rate after each epoch."""
    optimizer, plateau = plateau_of(lr, **settings)
    found = []
    for epoch, figure in enumerate(figures):
        plateau.on_epoch(mg.Epoch(epoch, {"loss": 0.0, "val_loss": figure}))
        assert isinstance(optimizer.lr, float)
        found.append(optimizer.lr)
    return found


# Settings, and how long each rate lasted with the figures above (3 less those where more is
# better), by torch.optim.lr_scheduler.ReduceLROnPlateau of PyTorch 2.13.0, starting from 1.
# fmt: off
PYTORCH: list[tuple[dict[str, Any], list[tuple[float, int]]]] = [
    ({}, [(1.0, 34), (0.1, 6)]),
    ({"patience": 2}, [
        (1.0, 8), (0.1, 11), (0.01, 3), (0.001, 4), (0.0001, 3), (1e-05, 3), (1e-06, 3),
        (1e-07, 3), (1e-08, 2),
    ]),
    ({"patience": 0, "factor": 0.5}, [
        (1.0, 4), (0.5, 2), (0.25, 1), (0.125, 1), (0.0625, 1), (0.03125, 1), (0.015625, 2),
        (0.0078125, 2), (0.00390625, 1), (0.001953125, 2), (0.0009765625, 1), (0.00048828125, 1),
        (0.000244140625, 1), (0.0001220703125, 1), (2**-14, 1), (2**-15, 2), (2**-16, 1),
        (2**-17, 1), (2**-18, 1), (2**-19, 1), (2**-20, 1), (2**-21, 1), (2**-22, 1), (2**-23, 1),
        (2**-24, 1), (2**-25, 1), (2**-26, 6),
    ]),
    ({"patience": 1, "cooldown": 3}, [
        (1.0, 7), (0.1, 8), (0.01, 5), (0.001, 5), (0.0001, 5), (1e-05, 5), (1e-06, 5),
    ]),
    ({"patience": 0, "cooldown": 1, "factor": 0.5}, [
        (1.0, 4), (0.5, 2), (0.25, 2), (0.125, 2), (0.0625, 2), (0.03125, 2), (0.015625, 3),
        (0.0078125, 2), (0.00390625, 2), (0.001953125, 3), (0.0009765625, 2), (0.00048828125, 2),
        (0.000244140625, 2), (0.0001220703125, 2), (2**-14, 2), (2**-15, 2), (2**-16, 2),
        (2**-17, 2),
    ]),
    ({"patience": 1, "factor": 0.5, "minimum": 0.1}, [
        (1.0, 7), (0.5, 2), (0.25, 6), (0.125, 3), (0.1, 22),
    ]),
    ({"patience": 3, "threshold": 0.3, "factor": 0.5}, [
        (1.0, 7), (0.5, 8), (0.25, 5), (0.125, 4), (0.0625, 4), (0.03125, 4), (0.015625, 4),
        (0.0078125, 4),
    ]),
    ({"patience": 3, "threshold": 0.3, "cooldown": 2, "factor": 0.75, "minimum": 0.05}, [
        (1.0, 7), (0.75, 8), (0.5625, 6), (0.421875, 6), (0.31640625, 6), (0.2373046875, 7),
    ]),
    ({"mode": "max", "patience": 3, "factor": 0.5}, [
        (1.0, 9), (0.5, 11), (0.25, 7), (0.125, 4), (0.0625, 4), (0.03125, 5),
    ]),
    ({"mode": "max", "patience": 2, "threshold": 0.2, "cooldown": 1, "factor": 0.5}, [
        (1.0, 6), (0.5, 4), (0.25, 4), (0.125, 4), (0.0625, 4), (0.03125, 4), (0.015625, 4),
        (0.0078125, 4), (0.00390625, 4), (0.001953125, 2),
    ]),
]
# fmt: on


@pytest.mark.parametrize(
    ("settings", "expected"), PYTORCH, ids=[str(settings) for settings, _ in PYTORCH]
)
def test_the_rates_are_pytorchs(
    settings: dict[str, Any], expected: list[tuple[float, int]]
) -> None:
    """Forty epochs, rate by rate."""
    figures = [3 - loss for loss in LOSSES] if settings.get("mode") == "max" else LOSSES
    every = [rate for rate, epochs in expected for _ in range(epochs)]
    np.testing.assert_allclose(rates(figures, **settings), every, rtol=1e-12)


def by_the_page(
    figures: list[float],
    mode: str,
    factor: float,
    patience: int,
    threshold: float,
    cooldown: int,
    minimum: float,
) -> list[float]:
    """In plain Python:
    https://docs.pytorch.org/docs/stable/generated/torch.optim.lr_scheduler.ReduceLROnPlateau.html.
    """
    rate, best = 1.0, math.inf if mode == "min" else -math.inf
    bad = rest = 0
    found = []
    for figure in figures:
        if figure < best * (1 - threshold) if mode == "min" else figure > best * (1 + threshold):
            best, bad = figure, 0
        else:
            bad += 1
        if rest:
            rest, bad = rest - 1, 0
        if bad > patience:
            lower = max(rate * factor, minimum)
            rate = lower if rate - lower > 1e-8 else rate
            bad, rest = 0, cooldown
        found.append(rate)
    return found


@sparse(
    pytest.mark.parametrize("mode", ["min", "max"]),
    pytest.mark.parametrize("patience", [0, 1, 4]),
    pytest.mark.parametrize("cooldown", [0, 1, 5]),
    every=3,
)
def test_many_settings(mode: str, patience: int, cooldown: int) -> None:
    """Random figures, positive and negative ones, over many settings."""
    rng = np.random.default_rng(0)
    for factor, threshold, minimum in itertools.product([0.1, 0.9], [0.0, 1e-4, 0.2], [0.0, 0.3]):
        for shift in (0.0, -2.0):
            figures = (rng.random(60) * np.linspace(2, 0.5, 60) + shift).tolist()
            found = rates(
                figures,
                mode=mode,
                factor=factor,
                patience=patience,
                threshold=threshold,
                cooldown=cooldown,
                minimum=minimum,
            )
            assert (
                by_the_page(figures, mode, factor, patience, threshold, cooldown, minimum) == found
            )


# -- by hand -------------------------------------------------------------------------------------


def test_patience_counts_epochs_that_bring_nothing() -> None:
    """With patience 2 the third in a row lowers the rate.

    Equal is not better, and one that is better starts anew.
    """
    figures = [1.0, 1.0, 1.0, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    assert [1.0] * 6 + [0.5] * 3 + [0.25] == rates(figures, patience=2, factor=0.5)


def test_better_is_relative() -> None:
    """With threshold 0.1, from 10 only what is below 9 is better.

    From 10 only what is above 11, if more is better.
    """
    assert [1.0, 0.5] == rates([10.0, 9.0], patience=0, threshold=0.1, factor=0.5)
    assert [1.0, 1.0] == rates([10.0, 8.99], patience=0, threshold=0.1, factor=0.5)
    assert [1.0, 0.5] == rates([10.0, 11.0], patience=0, threshold=0.1, factor=0.5, mode="max")
    assert [1.0, 1.0] == rates([10.0, 11.01], patience=0, threshold=0.1, factor=0.5, mode="max")


def test_the_first_figure_is_better_than_none() -> None:
    """However large or small it is."""
    for first in (1e30, 1e-30, 0.0):
        for mode in ("min", "max"):
            assert [1.0, 0.5] == rates([first, first], patience=0, factor=0.5, mode=mode)


@pytest.mark.parametrize("mode", ["min", "max"])
def test_a_figure_that_is_no_number_is_never_the_best(mode: str) -> None:
    """NaN is an epoch that brought nothing, as by PyTorch, also at first.

    Later figures are compared with numbers.
    """
    assert [1.0, 1.0, 0.5, 0.5] == rates(
        [1.0, math.nan, math.nan, math.nan], patience=1, factor=0.5, mode=mode
    )
    better = [5.0, 4.0, 3.0, 2.0, 1.0]
    figures = [math.nan, *(better if mode == "min" else better[::-1])]
    assert [1.0] * 6 == rates(figures, patience=1, factor=0.5, mode=mode)


def test_cooldown() -> None:
    """After a change the epochs of the cooldown do not count, then patience begins."""
    found = rates([1.0] * 12, patience=1, cooldown=3, factor=0.5)
    assert [1.0, 1.0] + [0.5] * 5 + [0.25] * 5 == found


def test_the_minimum() -> None:
    """The rate stops at the minimum exactly, and a rate that is below it already is left alone."""
    assert [1.0, 0.5, 0.3, 0.3] == rates([1.0] * 4, patience=0, factor=0.5, minimum=0.3)
    assert [0.2] * 4 == rates([1.0] * 4, lr=0.2, patience=0, factor=0.5, minimum=0.3)


def test_a_rate_that_was_assigned_meanwhile() -> None:
    """The rate is lowered from what it is now."""
    optimizer, plateau = plateau_of(patience=0, factor=0.5)
    plateau.on_epoch(mg.Epoch(0, {"val_loss": 1.0}))
    optimizer.lr = 8.0
    plateau.on_epoch(mg.Epoch(1, {"val_loss": 1.0}))
    assert 4.0 == optimizer.lr


def test_the_next_step_has_the_lower_rate() -> None:
    """The optimizer's next update is made with it."""
    optimizer, plateau = plateau_of(patience=0, factor=0.25)
    vector = mg.ParameterVector.of(optimizer.model)
    moved = []
    for epoch in range(3):
        before = vector.values.copy()
        vector.grads = np.ones(6)
        optimizer.step()
        moved.append(float((vector.values - before)[3]))
        plateau.on_epoch(mg.Epoch(epoch, {"val_loss": 1.0}))
    assert [-1.0, -1.0, -0.25] == moved


@pytest.mark.parametrize("make", [mg.Adam, mg.AdamW, mg.RMSprop])
def test_any_optimizer(make: Any) -> None:
    """It lowers the rate of each kind, and watches the figure that it was told to."""
    optimizer = make(model_of(), 0.5)
    plateau = mg.ReduceOnPlateau(optimizer, monitor="accuracy", mode="max", patience=0)
    for epoch, accuracy in enumerate([0.5, 0.6, 0.55]):
        plateau.on_epoch(mg.Epoch(epoch, {"accuracy": accuracy, "val_loss": 1.0}))
    np.testing.assert_allclose(optimizer.lr, 0.05, rtol=1e-15)


# -- what is refused -----------------------------------------------------------------------------


def test_a_figure_that_is_missing() -> None:
    """The message lists those that there are; nothing is counted."""
    optimizer, plateau = plateau_of(patience=0)
    plateau.on_epoch(mg.Epoch(0, {"val_loss": 1.0}))
    with pytest.raises(UnknownNameError, match=r"'val_loss'.*loss, accuracy") as caught:
        plateau.on_epoch(mg.Epoch(1, {"loss": 1.0, "accuracy": 0.5}))
    assert isinstance(caught.value, KeyError)
    with pytest.raises(UnknownNameError, match="'val_loss'"):
        plateau.on_epoch(mg.Epoch(1, {}))
    assert 1.0 == optimizer.lr


def test_an_optimizer_with_a_schedule() -> None:
    """Two that set the rate would be at odds: refused when it is made, and when a schedule is
    assigned later.
    """
    scheduled = mg.SGD(model_of(), mg.ExponentialDecay(0.1, 0.5))
    with pytest.raises(KindError, match="schedule"):
        mg.ReduceOnPlateau(scheduled)
    optimizer, plateau = plateau_of(patience=0)
    plateau.on_epoch(mg.Epoch(0, {"val_loss": 1.0}))
    optimizer.lr = mg.ExponentialDecay(0.1, 0.5)
    with pytest.raises(KindError, match="schedule"):
        plateau.on_epoch(mg.Epoch(1, {"val_loss": 1.0}))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"mode": "less"}, RangeError, "mode is 'less', expected 'min' or 'max'"),
        (
            {"factor": 1.0},
            RangeError,
            r"factor is 1\.0, expected a finite number above 0 and below 1",
        ),
        (
            {"factor": 0.0},
            RangeError,
            r"factor is 0\.0, expected a finite number above 0 and below 1",
        ),
        ({"factor": "half"}, KindError, "factor is 'half', expected"),
        ({"patience": -1}, RangeError, "patience is -1, expected"),
        ({"patience": 2.5}, KindError, r"patience is 2\.5, expected"),
        (
            {"threshold": -0.1},
            RangeError,
            r"threshold is -0\.1, expected a finite number at least 0",
        ),
        (
            {"threshold": float("nan")},
            RangeError,
            "threshold is nan, expected a finite number at least 0",
        ),
        ({"cooldown": -1}, RangeError, "cooldown is -1, expected"),
        (
            {"minimum": -1e-3},
            RangeError,
            r"minimum is -0\.001, expected a finite number at least 0",
        ),
        (
            {"minimum": float("inf")},
            RangeError,
            "minimum is inf, expected a finite number at least 0",
        ),
    ],
)
def test_settings_that_are_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    """The message names the setting, what came and what was expected."""
    with pytest.raises(error, match=message):
        plateau_of(**settings)


def test_what_is_no_optimizer() -> None:
    """A model, say."""
    with pytest.raises(KindError, match=r"ReduceOnPlateau got .*expected an optimizer"):
        mg.ReduceOnPlateau(model_of())  # type: ignore[arg-type]
