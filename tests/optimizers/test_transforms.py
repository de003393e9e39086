"""Transforms of gradients and updates, against plain loops.

Their state, their errors, and what they leave alone.
"""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import KindError, ModelError, SettingsChanged, ShapeError
from minigrad.optimizers.transforms import Names, Transform

STEPS = 6
SIZE = 3 * 4 + 4 + 4 * 2


def model_of() -> mg.Sequential:
    return mg.Sequential(
        mg.Dense(3, 4, dtype=np.float64, rng=0), mg.Dense(4, 2, bias=False, dtype=np.float64, rng=1)
    )


def gradients(steps: int = STEPS) -> Array:
    drawn: Array = np.random.default_rng(7).normal(size=(steps, SIZE))
    return drawn


def updates_of(optimizer: mg.Optimizer, steps: int = STEPS, start: int = 0) -> list[list[float]]:
    """The changes that steps with these gradients make."""
    vector, found = mg.ParameterVector.of(optimizer.model), []
    for grad in gradients(start + steps)[start:]:
        before = vector.values.copy()
        vector.grads = grad
        optimizer.step()
        found.append([float(change) for change in vector.values - before])
    return found


def close(expected: object, actual: object) -> None:
    np.testing.assert_allclose(np.array(actual), np.array(expected), rtol=1e-9, atol=1e-12)


# -- each against loops --------------------------------------------------------------------------


@pytest.mark.parametrize("option", [False, True])
def test_clip_value(option: bool) -> None:
    """Each entry is limited by itself; `max_grad_value` is the same."""
    settings: dict[str, Any] = (
        {"max_grad_value": 0.5} if option else {"grad_transforms": [mg.ClipValue(0.5)]}
    )
    found = updates_of(mg.SGD(model_of(), 0.1, **settings))
    close([[-0.1 * max(-0.5, min(0.5, float(g))) for g in grad] for grad in gradients()], found)


@pytest.mark.parametrize("option", [False, True])
def test_clip_norm(option: bool) -> None:
    """All are scaled by limit / norm, where the norm is larger; `max_grad_norm` is the same."""
    settings: dict[str, Any] = (
        {"max_grad_norm": 2.0} if option else {"grad_transforms": [mg.ClipNorm(2.0)]}
    )
    optimizer = mg.SGD(model_of(), 0.1, **settings)
    expected = []
    for grad in gradients():
        factor = min(1.0, 2.0 / (math.sqrt(math.fsum(float(g) ** 2 for g in grad)) + 1e-6))
        expected.append([-0.1 * factor * float(g) for g in grad])
    close(expected, updates_of(optimizer))
    assert 0 < optimizer.clip_factor < 1


def test_gradient_noise() -> None:
    """Noise of variance std^2 / (1 + t)^decay, drawn from its generator."""
    rng, expected = np.random.default_rng(5), []
    for step, grad in enumerate(gradients()):
        std = math.sqrt(0.3**2 / (1 + step) ** 0.55)
        expected.append(
            [
                -0.1 * (float(g) + std * float(n))
                for g, n in zip(grad, rng.normal(size=SIZE), strict=True)
            ]
        )
    close(
        expected,
        updates_of(mg.SGD(model_of(), 0.1, grad_transforms=[mg.GradientNoise(0.3, rng=5)])),
    )


@pytest.mark.parametrize("stage", ["grad_transforms", "update_transforms"])
def test_mask(stage: str) -> None:
    """Entries that may not move get a gradient, or an update, of 0: with momentum and decay the two
    differ.
    """
    moving = np.random.default_rng(1).random((3, 4)) < 0.5
    model = model_of()
    stages: dict[str, Any] = {stage: [mg.Mask({"0.weight": moving})]}
    optimizer = mg.SGD(model, 0.1, momentum=0.5, weight_decay=0.1, **stages)
    values = [float(value) for value in mg.ParameterVector.of(model).values]
    velocity = [0.0] * SIZE
    held = [not moves for moves in moving.ravel()] + [False] * (SIZE - 12)
    for grad in gradients():
        for entry in range(SIZE):
            g = 0.0 if stage == "grad_transforms" and held[entry] else float(grad[entry])
            velocity[entry] = 0.5 * velocity[entry] + g + 0.1 * values[entry]
            values[entry] += (
                0.0 if stage == "update_transforms" and held[entry] else -0.1 * velocity[entry]
            )
    before = model[0].weight.value.copy()
    updates_of(optimizer)
    close(values, mg.ParameterVector.of(model).values)
    assert (stage == "update_transforms") == np.array_equal(
        before[~moving], model[0].weight.value[~moving]
    )


@pytest.mark.parametrize("axis", [0, 1])
def test_max_norm(axis: int) -> None:
    """No unit's weights leave the norm; those that would not are as without it."""
    model = model_of()
    vector = mg.ParameterVector.of(model)
    values = [float(value) for value in vector.values]
    optimizer = mg.SGD(model, 0.3, update_transforms=[mg.MaxNorm(1.2, "0.weight", axis=axis)])
    shortened = free = 0
    for grad in gradients():
        values = [value - 0.3 * float(g) for value, g in zip(values, grad, strict=True)]
        units = [[i * 4 + j for i in range(3)] for j in range(4)] if axis == 0 else [
            [i * 4 + j for j in range(4)] for i in range(3)
        ]  # fmt: skip
        for unit in units:
            norm = math.sqrt(math.fsum(values[entry] ** 2 for entry in unit))
            shortened, free = shortened + (norm > 1.2), free + (norm <= 1.2)
            for entry in unit if norm > 1.2 else ():
                values[entry] *= 1.2 / norm
        vector.grads = grad
        optimizer.step()
        close(values, vector.values)
        assert np.linalg.norm(model[0].weight.value, axis=axis).max() <= 1.2 + 1e-9
    assert min(shortened, free) > 0


def test_max_norm_of_units_that_are_zero() -> None:
    """A unit whose weights are all 0 has the norm 0, and stays as it is without a word."""
    model = model_of()
    model[0].weight.value[...] = 0
    optimizer = mg.SGD(model, 0.5, update_transforms=[mg.MaxNorm(1.0, "0.weight")])
    grads = np.zeros_like(mg.ParameterVector.of(model).grads)
    grads[0] = -6.0  # entry (0, 0): the norm of unit 0 would be 3, those of the others are 0
    mg.ParameterVector.of(model).grads = grads
    optimizer.step()
    expected = np.zeros((3, 4))
    expected[0, 0] = 1.0
    assert expected.tolist() == model[0].weight.value.tolist()


# -- order and one's own -------------------------------------------------------------------------


def add_one(names: Names, values: Array, array: Array) -> None:
    array += 1


def double(names: Names, values: Array, array: Array) -> None:
    array *= 2


class Counting:
    """A transform with a state: its n-th call adds n."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, names: Names, values: Array, array: Array) -> None:
        self.calls += 1
        array += self.calls

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.calls = state["calls"]


@pytest.mark.parametrize(
    ("transforms", "expected"),
    [([add_one, double], lambda g: 2 * (g + 1)), ([double, add_one], lambda g: 2 * g + 1)],
)
def test_transforms_go_in_order(
    transforms: list[Transform], expected: Callable[[Array], Array]
) -> None:
    """The second gets what the first leaves; functions and objects may be mixed."""
    close(
        -0.1 * expected(gradients()),
        updates_of(mg.SGD(model_of(), 0.1, grad_transforms=transforms)),
    )
    close(
        expected(-0.1 * gradients()),
        updates_of(mg.SGD(model_of(), 0.1, update_transforms=transforms)),
    )


def test_limits_come_after_the_transforms() -> None:
    """`max_grad_value`, then `max_grad_norm`, limit what the transforms leave."""
    found = updates_of(
        mg.SGD(model_of(), 1.0, grad_transforms=[add_one], max_grad_value=0.5, max_grad_norm=1.0)
    )
    for grad, update in zip(gradients(), found, strict=True):
        limited = np.clip(grad + 1, -0.5, 0.5)
        close(-limited / (np.linalg.norm(limited) + 1e-6), update)


def test_what_a_transform_is_given() -> None:
    """Names with slices and shapes, the values before the step, read-only, and all gradients."""
    seen: list[tuple[dict[str, tuple[int, ...]], bytes, bool]] = []

    def look(names: Names, values: Array, array: Array) -> None:
        shapes = {name: shape for name, (part, shape) in names.items()}
        seen.append((shapes, values.tobytes(), values.flags.writeable))
        close(gradients()[0][names["0.bias"].slice], array[names["0.bias"].slice])

    model = model_of()
    before = mg.ParameterVector.of(model).values.tobytes()
    updates_of(mg.SGD(model, 0.1, grad_transforms=[look], update_transforms=[]), 1)
    assert [({"0.weight": (3, 4), "0.bias": (4,), "1.weight": (4, 2)}, before, False)] == seen


@pytest.mark.parametrize("stage", ["grad_transforms", "update_transforms"])
@pytest.mark.parametrize("what", ["returns", "raises"])
def test_a_transform_that_fails_writes_nothing(stage: str, what: str) -> None:
    """Returning something is an error that says what to do.

    What a transform raises is raised; no value changes.
    """

    def wrong(names: Names, values: Array, array: Array) -> Any:
        if what == "raises":
            raise ZeroDivisionError("mine")
        return array * 2

    model = model_of()
    stages: dict[str, Any] = {stage: [wrong]}
    optimizer = mg.SGD(model, 0.1, **stages)
    before = mg.ParameterVector.of(model).values.tobytes()
    mg.ParameterVector.of(model).grads = gradients()[0]
    kind, message = (
        (ZeroDivisionError, "mine")
        if what == "raises"
        else (KindError, "transform wrong returned .* in place")
    )
    with pytest.raises(kind, match=message):
        optimizer.step()
    assert before == mg.ParameterVector.of(model).values.tobytes()
    assert 0 == optimizer.step_count


@pytest.mark.parametrize("given", [add_one, [mg.MaxNorm], [3], 5])
def test_what_is_no_list_of_transforms(given: Any) -> None:
    """A transform alone, its class, or a number is an error when the optimizer is made."""
    with pytest.raises(KindError, match="update_transforms"):
        mg.SGD(model_of(), 0.1, update_transforms=given)


def test_names_and_shapes_that_do_not_fit() -> None:
    """A pattern that fits nothing, a mask of another shape, an axis that is not there: an error in
    the first step.
    """
    wrong: list[tuple[Transform, type[Exception], str]] = [
        (mg.Mask({"2.weight": np.ones(3, bool)}), ModelError, "2.weight"),
        (mg.Mask({"0.weight": np.ones((4, 3), bool)}), ShapeError, "0.weight"),
        (mg.MaxNorm(1.0, "0.bias", axis=1), ShapeError, "0.bias"),
    ]
    for transform, kind, message in wrong:
        with pytest.raises(kind, match=message):
            updates_of(mg.SGD(model_of(), 0.1, update_transforms=[transform]), 1)


# -- what is left alone --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["frozen", "unreached", "frozen entries"])
def test_what_is_left_out_stays_and_counts_in_no_norm(how: str) -> None:
    """Frozen and unreached parameters keep their bits, -0.0 too, under transforms that touch all.

    Norms are of the rest.
    """
    model = model_of()
    model[0].weight.value[...] = -0.0
    vector = mg.ParameterVector.of(model)
    norms: list[float] = []

    def note(names: Names, values: Array, array: Array) -> None:
        norms.append(float(np.linalg.norm(array)))
        array += 1

    if how != "unreached":
        model[0].weight.trainable = False if how == "frozen" else np.arange(12).reshape(3, 4) < 3
    optimizer = mg.SGD(
        model, 0.1, grad_transforms=[note, mg.ClipNorm(1.0)], update_transforms=[add_one]
    )
    for grad in gradients(3):
        if how == "unreached":
            model[0].bias.grad = grad[12:16]
            model[1].weight.grad = grad[16:].reshape(4, 2)
        else:
            vector.grads = grad
        optimizer.step()
    still = slice(3, 12) if how == "frozen entries" else slice(0, 12)
    assert np.signbit(vector.values[still]).all()
    assert not vector.values[still].any()
    expected = [
        np.linalg.norm(np.r_[grad[:3] if how == "frozen entries" else [], grad[12:]])
        for grad in gradients(3)
    ]
    close(expected, norms)


def test_mask_keeps_the_sign_of_zero() -> None:
    """A masked entry that is -0.0 stays -0.0."""
    model = model_of()
    model[0].weight.value[...] = -0.0
    mask = mg.Mask({"0.weight": np.zeros((3, 4), bool)})
    updates_of(mg.Adam(model, 0.1, weight_decay=0.1, update_transforms=[mask]))
    assert np.signbit(model[0].weight.value).all()


def test_a_mask_is_a_copy() -> None:
    """What is done to the caller's array afterwards changes nothing."""
    moving = np.zeros((3, 4), bool)
    model = model_of()
    optimizer = mg.SGD(model, 0.1, update_transforms=[mg.Mask({"0.weight": moving})])
    moving[...] = True
    before = model[0].weight.value.tobytes()
    updates_of(optimizer)
    assert before == model[0].weight.value.tobytes()


# -- state ---------------------------------------------------------------------------------------


def noisy(model: mg.Layer) -> mg.Adam:
    transforms: list[Transform] = [mg.GradientNoise(0.1, rng=3), Counting()]
    return mg.Adam(model, 0.01, grad_transforms=transforms, update_transforms=[mg.MaxNorm(1.5)])


def test_a_checkpoint_resumes_bit_for_bit(tmp_path: Path) -> None:
    """Noise and a user's own state go on where they stopped, from a file."""
    straight = updates_of(noisy(model_of()))
    model = model_of()
    optimizer = noisy(model)
    updates_of(optimizer, 2)
    mg.save(tmp_path / "a.npz", model=model, optimizer=optimizer)
    other_model = model_of()
    other = noisy(other_model)
    updates_of(other, 4)  # something else before
    mg.load(tmp_path / "a.npz", model=other_model, optimizer=other)
    assert straight[2:] == updates_of(other, 4, start=2)
    assert 6 == other.state_dict()["transforms"][1]["state"]["calls"]


def test_the_state_of_other_transforms() -> None:
    """A state with noise does not fit an optimizer without it, and changes nothing.

    Stateless ones are warned of.
    """
    optimizer = noisy(model_of())
    updates_of(optimizer, 2)
    other = mg.Adam(model_of(), 0.01)
    with pytest.raises(ModelError, match="GradientNoise"):
        other.load_state_dict(optimizer.state_dict())
    assert 0 == other.step_count
    plain = mg.SGD(model_of(), 0.1, update_transforms=[mg.MaxNorm(1.0)])
    for changed in ([], [mg.MaxNorm(2.0)]):
        with pytest.warns(SettingsChanged, match=r"update_transforms.*MaxNorm\(1"):
            mg.SGD(model_of(), 0.1, update_transforms=changed).load_state_dict(plain.state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mg.SGD(model_of(), 0.1, update_transforms=[mg.MaxNorm(1.0)]).load_state_dict(
            plain.state_dict()
        )


def test_a_state_that_a_transform_refuses_changes_none() -> None:
    """Where the second transform cannot load, the first is as it was."""
    first, second = mg.GradientNoise(0.1, rng=3), mg.GradientNoise(0.1, rng=4)
    optimizer = mg.SGD(model_of(), 0.1, grad_transforms=[first, second])
    state = optimizer.state_dict()
    state["transforms"][0]["state"]["steps"] = 9
    state["transforms"][1]["state"]["rng"] = {"bit_generator": "Nonsense"}
    with pytest.raises(ModelError):
        optimizer.load_state_dict(state)
    assert [0, 0] == [first.steps, second.steps]


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_have_transforms_of_their_own(how: str) -> None:
    """A copy goes on with the same bits, and does not move the original's generator."""
    model = model_of()
    optimizer = noisy(model)
    updates_of(optimizer, 2)
    other: mg.Adam = (
        copy.deepcopy(optimizer) if how == "deepcopy" else pickle.loads(pickle.dumps(optimizer))
    )
    expected = updates_of(other, 4, start=2)
    assert expected == updates_of(optimizer, 4, start=2)
    assert optimizer.grad_transforms[0] is not other.grad_transforms[0]
