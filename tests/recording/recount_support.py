"""A small training, and a recount of it in plain NumPy that shares no code with the recorder."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

import minigrad as mg
from minigrad.arrays import Array
from minigrad.reason import Reason

Pass = dict[str, tuple[Array | None, Array]]
"""What the gradient of each parameter is made of: inputs (None for a bias) and units."""

WEIGHTS = ("0.weight", "2.weight")


def network() -> mg.Sequential:
    """Dense, relu, Dense, with a dead unit (1) in the middle.

    Float64, so that a gradient that is not 0 moves something.
    """
    model = mg.Sequential(
        mg.Dense(5, 4, dtype=np.float64, rng=1),
        mg.Activation("relu"),
        mg.Dense(4, 3, dtype=np.float64, rng=2),
    )
    model[0].bias.value[:] = [0, -1000, 0, 0.5]
    return model


def batches(steps: int = 5) -> Iterable[tuple[Array, Array]]:
    """Inputs and gradients of the output, sparse: input 2 is dark, output 1 gets no gradient, and
    output 2 cancels out.
    """
    rng = np.random.default_rng(3)
    for _ in range(steps):
        x = rng.normal(size=(4, 5)) * (rng.random((4, 5)) < 0.6)
        x[:, 2] = 0
        x[1] = x[0]
        grad = rng.normal(size=(4, 3))
        grad[:, 1] = 0
        grad[:, 2] = [1, -1, 0, 0]
        yield x, grad


class Truth:
    """What happened, written down by the test itself."""

    def __init__(self, model: mg.Sequential) -> None:
        self.model = model
        self.initial = {name: parameter.value.copy() for name, parameter in model.parameters()}
        self.values: list[dict[str, Array]] = []
        self.shares: dict[str, list[tuple[Array | None, Array]]] = {
            name: [] for name in self.initial
        }
        self.edited: set[str] = set()
        self.had = {name: np.zeros(value.shape, bool) for name, value in self.initial.items()}
        self.moved = {name: np.zeros(value.shape, bool) for name, value in self.initial.items()}

    def made_of(self, x: Array, grad: Array) -> Pass:
        """The factors of one backward, computed here."""
        first, second = self.model[0], self.model[2]
        before = x @ first.weight.value + first.bias.value
        hidden = np.maximum(before, 0)
        below = (grad @ second.weight.value.T) * (before > 0)
        grad = grad.copy()  # the caller's arrays may be filled with others
        return {
            "0.weight": (x.copy(), below),
            "0.bias": (None, below),
            "2.weight": (hidden, grad),
            "2.bias": (None, grad),
        }

    def step(
        self,
        optimizer: mg.Optimizer,
        passes: Iterable[Pass],
        edited: Iterable[str] = (),
        reached: Iterable[str] | None = None,
    ) -> None:
        """Make the step, whose gradients came from these backwards.

        Those of some parameters were edited by hand.
        """
        reached = set(self.initial if reached is None else reached)
        self.edited |= set(edited)
        grads = {name: np.array(parameter.grad) for name, parameter in self.model.parameters()}
        before = {name: parameter.value.copy() for name, parameter in self.model.parameters()}
        optimizer.step()
        for name, parameter in self.model.parameters():
            if name in reached:
                self.shares[name] += [one[name] for one in passes]
                self.had[name] |= grads[name] != 0
            self.moved[name] |= parameter.value != before[name]
        self.values.append(
            {name: parameter.value.copy() for name, parameter in self.model.parameters()}
        )

    def reasons(self, name: str) -> npt.NDArray[Any]:
        """The reason of each entry, one by one."""
        found = np.empty(self.initial[name].shape, object)
        for place in np.ndindex(found.shape):
            if self.moved[name][place]:
                returned = (
                    self.values[-1][name][place].tobytes() == self.initial[name][place].tobytes()
                )
                found[place] = Reason.RETURNED if returned else Reason.MOVED
            elif self.had[name][place]:
                found[place] = Reason.SWALLOWED
            elif name in self.edited:
                found[place] = Reason.GRADIENT_ZERO
            else:
                found[place] = self.gate(name, place)
        return found

    def gate(self, name: str, place: tuple[int, ...]) -> Reason:
        """Why a gradient was 0 in all steps."""
        if not self.shares[name]:
            return Reason.NO_GRADIENT
        lit = active = met = False
        for inputs, units in self.shares[name]:
            for row in range(len(units)):
                fed = inputs is None or inputs[row, place[0]] != 0
                pulled = units[row, place[-1]] != 0
                lit, active, met = lit or fed, active or pulled, met or (fed and pulled)
        if not lit:
            return Reason.INPUT_ZERO
        if not active:
            return Reason.UNIT_SILENT
        return Reason.CANCELLED if met else Reason.NEVER_TOGETHER

    def samples(self, name: str) -> int:
        return sum(len(units) for _, units in self.shares[name])

    def check(self, run: mg.Run, notes: int = 0) -> None:
        """The record says what happened: reasons, samples, values after every step."""
        assert len(self.values) == len(run.steps)
        for name in self.initial:
            expected = self.reasons(name)
            why = run[name].why
            assert expected.tolist() == why.reasons.tolist(), name
            assert expected.size == sum(why.counts.values())
            assert np.array_equal(self.moved[name], run[name].moved), name
            for place in zip(
                *np.nonzero((expected == Reason.INPUT_ZERO) | (expected == Reason.UNIT_SILENT)),
                strict=True,
            ):
                assert f"0 in all {self.samples(name)} samples" in why.at(*map(int, place))
            for step, values in enumerate(self.values):
                if step in run.exact_steps:
                    assert values[name].tobytes() == run[name].value(step).tobytes(), (name, step)
        assert run.verify()
        assert notes == len(run.notes), run.notes


def forward_and_back(model: mg.Sequential, x: Array, grad: Array, **keywords: Any) -> None:
    model(x)
    model.backward(grad, **keywords)


Act = Callable[[mg.Sequential, mg.Optimizer, Truth, Array, Array], None]
"""One training step of a scenario, given a batch."""


def plain(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    made = truth.made_of(x, grad)
    forward_and_back(model, x, grad)
    truth.step(optimizer, [made])
