"""`Optimizer`: what an author may take for granted, and what `step` does around `compute`."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import KindError, MissingGradientError


class Adam(mg.Optimizer):
    """Adam (Kingma and Ba 2015, algorithm 1) as an author would write it: only `compute`."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        first, second = self.state("first"), self.state("second")
        first += 0.1 * (grads - first)
        second += 0.001 * (grads * grads - second)
        t = self.step_count + 1
        update[...] = (
            -self.current_lr * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        )


class Seen(mg.Optimizer):
    """Writes down what `compute` is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: list[tuple[list[float], list[float], int, float]] = []

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        self.seen.append((values.tolist(), grads.tolist(), self.step_count, self.current_lr))
        update.fill(1)


class Tape(mg.Hook):
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def on_step(self, event: mg.Step) -> None:
        attributes = {
            name: getattr(event, name) for name in ("step", "lr", "clip_factor", "loss", "names")
        }
        arrays = {name: dict(getattr(event, name)) for name in ("updates", "grads", "values")}
        self.events.append({**attributes, **arrays, "skipped": dict(event.skipped)})


def three(dtype: type[np.float32 | np.float64] = np.float64) -> mg.Sequential:
    """Three parameters of 2, 1 and 2 entries: 0.weight, 1.weight, 2.weight."""
    sizes = [(1, 2), (2, 1), (1, 2)]
    model = mg.Sequential(
        *[mg.Dense(*size, bias=False, dtype=dtype, init="ones") for size in sizes]
    )
    mg.ParameterVector.of(model).values[...] = np.arange(1, 7)
    return model


def momentum(model: mg.Layer, lr: float) -> mg.Optimizer:
    return mg.SGD(model, lr, momentum=0.9)


def give(model: mg.Layer, *numbers: float) -> None:
    mg.ParameterVector.of(model).grads = np.array(numbers)


# -- an optimizer of one's own -------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_custom_optimizer_is_only_compute(dtype: Any) -> None:
    """Adam in eight lines agrees with the paper's loop, number by number.

    Hooks, freezing and saving just work.
    """
    model = three(dtype)
    optimizer, tape, rng = Adam(model, lr=0.01), Tape(), np.random.default_rng(0)
    optimizer.attach(tape)
    theta, m, v = [[float(n) for n in range(1, 7)], [0.0] * 6, [0.0] * 6]
    for t in range(1, 31):
        g = rng.normal(size=6).astype(dtype)
        give(model, *g)
        optimizer.step()
        for i in range(6):
            m[i] = 0.9 * m[i] + 0.1 * float(g[i])
            v[i] = 0.999 * v[i] + 0.001 * float(g[i]) ** 2
            theta[i] -= 0.01 * (m[i] / (1 - 0.9**t)) / (math.sqrt(v[i] / (1 - 0.999**t)) + 1e-8)
    values = mg.ParameterVector.of(model).values
    np.testing.assert_allclose(values, theta, rtol=1e-5 if dtype is np.float32 else 1e-12)
    assert 30 == len(tape.events)
    assert {"first", "second"} == set(optimizer.state_dict()["state"])
    assert dtype == optimizer.state_dict()["state"]["first"]["0.weight"].dtype


def test_compute_cannot_write_values_or_gradients() -> None:
    """What `compute` is given to read cannot be written; a failed `compute` changes no value."""

    class Wrong(mg.Optimizer):
        target = 0

        def compute(self, values: Array, grads: Array, update: Array) -> None:
            update.fill(1)
            (values, grads)[self.target][...] = 5

    for target, most in ((0, None), (1, None), (1, 0.1)):
        model = three()
        optimizer = Wrong(model, lr=1, max_grad_norm=most)
        optimizer.target = target
        give(model, *[1.0] * 6)
        with pytest.raises(ValueError, match="read-only"):
            optimizer.step()
        assert list(range(1, 7)) == mg.ParameterVector.of(model).values.tolist()
        assert [1] * 6 == mg.ParameterVector.of(model).grads.tolist()
        assert 0 == optimizer.step_count


def test_what_compute_sees() -> None:
    """Flat values, gradients after clipping, the number of the step from 0, and this step's
    rate.
    """
    model = three()
    optimizer = Seen(model, lr=lambda step: 0.5 + step, max_grad_norm=2.5)
    for _ in range(2):
        give(model, 3, 0, 0, 4, 0, 0)
        optimizer.step()
    assert [0, 1] == [step for _, _, step, _ in optimizer.seen]
    assert [0.5, 1.5] == [lr for *_, lr in optimizer.seen]
    assert [[1, 2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7]] == [values for values, *_ in optimizer.seen]
    for _, grads, _, _ in optimizer.seen:
        np.testing.assert_allclose(grads, [1.5, 0, 0, 2, 0, 0], rtol=1e-6)
    assert [3, 0, 0, 4, 0, 0] == mg.ParameterVector.of(model).grads.tolist()


def test_compute_sees_each_stretch_of_neighbours() -> None:
    """Where a parameter in the midst is skipped, `compute` is called for those before it and those
    after it.
    """
    model = three()
    optimizer = Seen(model, lr=1)
    model[1].freeze()
    give(model, 1, 2, 3, 4, 5, 6)
    optimizer.step()
    assert [([1, 2], [1, 2], 0, 1.0), ([5, 6], [5, 6], 0, 1.0)] == optimizer.seen
    assert [2, 3, 3, 4, 6, 7] == mg.ParameterVector.of(model).values.tolist()
    model.freeze()
    give(model, *[1.0] * 6)
    optimizer.step()  # nothing to do, and nothing is done
    assert 2 == len(optimizer.seen)


def test_an_optimizer_without_compute() -> None:
    """There is nothing that it could do."""

    class Nothing(mg.Optimizer):
        pass

    with pytest.raises(TypeError, match="compute"):
        Nothing(three(), lr=1)  # type: ignore[abstract]


# -- skipped parameters --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [momentum, Adam])
@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_the_moments_of_a_skipped_parameter_stay(make: Any, frozen: int) -> None:
    """A frozen layer and its moments are as if time stood still, and go on from there."""
    model = three()
    optimizer = make(model, 0.1)
    give(model, *range(1, 7))
    optimizer.step()
    name = f"{frozen}.weight"
    states, value = optimizer.state_dict()["state"], model.state_dict()[name]
    model[frozen].freeze()
    for _ in range(3):
        give(model, *range(1, 7))
        optimizer.step()
    for state, arrays in optimizer.state_dict()["state"].items():
        for other, array in arrays.items():
            assert (other == name) == (array.tobytes() == states[state][other].tobytes())
    assert value.tobytes() == model.state_dict()[name].tobytes()
    model[frozen].unfreeze()
    give(model, *range(1, 7))
    optimizer.step()
    assert value.tobytes() != model.state_dict()[name].tobytes()


def test_events_say_what_was_skipped_in_this_step() -> None:
    """Frozen, no gradient, and nothing: each step's event has its own."""
    model, tape = three(), Tape()
    optimizer = mg.SGD(model, lr=1)
    optimizer.attach(tape)
    parameters = [parameter for _, parameter in model.parameters()]
    give(model, *[1.0] * 6)
    optimizer.step()
    for parameter in parameters[:2]:
        parameter.grad = np.ones(parameter.shape)
    optimizer.step()
    model[0].freeze()
    give(model, *[1.0] * 6)
    optimizer.step()
    model[0].unfreeze()
    give(model, *[1.0] * 6)
    optimizer.step()
    assert [{}, {"2.weight": "no gradient"}, {"0.weight": "frozen"}, {}] == [
        e["skipped"] for e in tape.events
    ]
    assert [-1, -1] == tape.events[3]["updates"]["0.weight"].ravel().tolist()
    assert [0, 0] == tape.events[2]["updates"]["0.weight"].ravel().tolist()


def test_clipping_does_not_count_what_is_skipped() -> None:
    """The norm is that of the gradients that are used."""
    model = three()
    optimizer = mg.SGD(model, lr=1, max_grad_norm=5)
    model[1].freeze()
    give(model, 3, 0, 1e30, 1e30, 0, 4)
    optimizer.step()
    np.testing.assert_allclose(mg.ParameterVector.of(model).values, [-2, 2, 3, 4, 5, 2], rtol=1e-6)


# -- clipping ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grads", "most", "factor"),
    [
        ([3, 4, 0, 0, 0, 0], 1.0, 0.2),
        ([3, 4, 0, 0, 0, 0], 10.0, 1.0),
        ([0, 0, 0, 0, 0, 0], 1.0, 1.0),
        ([6, 0, 0, 0, 0, 8], 0.001, 0.0001),
    ],
    ids=["clipped", "small enough", "zero", "strongly"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_clipping_scales_to_the_norm(
    dtype: Any, grads: list[float], most: float, factor: float
) -> None:
    """All gradients are scaled together.

    The factor is in the event, the gradients there are the unclipped ones.
    """
    model, tape = three(dtype), Tape()
    optimizer = mg.SGD(model, lr=1, max_grad_norm=most)
    optimizer.attach(tape)
    give(model, *grads)
    optimizer.step()
    event = tape.events[0]
    assert math.isclose(factor, event["clip_factor"], rel_tol=1e-5)
    assert optimizer.clip_factor == event["clip_factor"]
    assert grads == np.concatenate([grad.ravel() for grad in event["grads"].values()]).tolist()
    updates = np.concatenate([update.ravel() for update in event["updates"].values()])
    np.testing.assert_allclose(updates, -factor * np.array(grads), rtol=1e-5, atol=1e-30)


def test_clipping_of_gradients_whose_squares_overflow() -> None:
    """A norm above 1e19 does not overflow in float32."""
    model = three(np.float32)
    optimizer = mg.SGD(model, lr=1, max_grad_norm=5)
    give(model, 3e30, 4e30, 0, 0, 0, 0)
    optimizer.step()
    np.testing.assert_allclose(mg.ParameterVector.of(model).values, [-2, -2, 3, 4, 5, 6], rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_limiting_each_entry(dtype: Any) -> None:
    """Entries beyond the limit become the limit, in each direction.

    The others, and -0.0 and NaN, stay as they are.
    """
    model, tape = three(dtype), Tape()
    optimizer = mg.SGD(model, lr=1, max_grad_value=2)
    optimizer.attach(tape)
    give(model, 3, -3, 1.5, -0.0, -2, 1e30)
    optimizer.step()
    updates = np.concatenate([update.ravel() for update in tape.events[0]["updates"].values()])
    assert [-2, 2, -1.5, 0, 2, -2] == updates.tolist()
    assert dtype == updates.dtype
    assert 1.0 == tape.events[0]["clip_factor"] == optimizer.clip_factor
    unlimited = np.concatenate([grad.ravel() for grad in tape.events[0]["grads"].values()])
    assert np.array([3, -3, 1.5, 0, -2, 1e30], dtype).tolist() == unlimited.tolist()
    give(model, *[math.nan] * 6)
    optimizer.step()
    assert np.isnan(mg.ParameterVector.of(model).values).all()


def test_each_entry_is_limited_before_the_norm() -> None:
    """The norm is that of the limited gradients, (3, 4) here, so the factor is 1 / 5, and is in the
    event.
    """
    model, tape = three(), Tape()
    optimizer = Seen(model, lr=1, max_grad_value=4, max_grad_norm=1)
    optimizer.attach(tape)
    give(model, 3, 1e6, 0, 0, 0, 0)
    optimizer.step()
    np.testing.assert_allclose(optimizer.seen[0][1], [0.6, 0.8, 0, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(tape.events[0]["clip_factor"], 0.2, rtol=1e-6)
    assert [3, 1e6] == tape.events[0]["grads"]["0.weight"].ravel().tolist()
    assert [3, 1e6, 0, 0, 0, 0] == mg.ParameterVector.of(model).grads.tolist()


# -- events --------------------------------------------------------------------------------------


def test_the_event_of_a_step() -> None:
    """Number, rate, names, loss, rows, gradient before and value after.

    The update is what was added.
    """
    model, tape = three(), Tape()
    optimizer = mg.SGD(model, lr=lambda step: 0.5 / (step + 1))
    optimizer.attach(tape)
    for _ in range(2):
        give(model, 2, 2, 2, 2, 2, 2)
        optimizer.step(loss=0.25)
    assert [0, 1] == [event["step"] for event in tape.events]
    assert [0.5, 0.25] == [event["lr"] for event in tape.events]
    assert [0.25] * 2 == [event["loss"] for event in tape.events]
    assert ("0.weight", "1.weight", "2.weight") == tape.events[0]["names"]
    assert [[-1, -1]] == tape.events[0]["updates"]["2.weight"].tolist()
    assert [[-0.5, -0.5]] == tape.events[1]["updates"]["2.weight"].tolist()
    assert [[4, 5]] == tape.events[0]["values"]["2.weight"].tolist()
    assert [[2], [2]] == tape.events[0]["grads"]["1.weight"].tolist()


# -- state ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [momentum, Adam])
def test_a_state_goes_round(make: Any) -> None:
    """The state of one optimizer makes another go on alike, and is made of copies in the
    parameters' shapes.
    """
    first, second = three(), three()
    one, two = make(first, 0.1), make(second, 0.1)
    for _ in range(3):
        give(first, *range(1, 7))
        one.step()
    second.load_state_dict(first.state_dict())
    state = pickle.loads(pickle.dumps(one.state_dict()))
    two.load_state_dict(state)
    assert 3 == two.step_count == state["step_count"]
    for arrays in state["state"].values():
        assert {"0.weight": (1, 2), "1.weight": (2, 1), "2.weight": (1, 2)} == {
            n: a.shape for n, a in arrays.items()
        }
        for array in arrays.values():
            array.fill(99)  # it was copied
    for model, optimizer in ((first, one), (second, two)):
        give(model, *range(1, 7))
        optimizer.step()
    assert (
        mg.ParameterVector.of(first).values.tobytes()
        == mg.ParameterVector.of(second).values.tobytes()
    )


def test_a_state_before_the_first_step_takes_one_back() -> None:
    """Loading the state of a new optimizer forgets the moments."""
    model = three()
    optimizer = mg.SGD(model, lr=0.1, momentum=0.9)
    start = optimizer.state_dict()
    give(model, *range(1, 7))
    optimizer.step()
    optimizer.load_state_dict(start)
    assert 0 == optimizer.step_count
    before = model.state_dict()["0.weight"]
    give(model, *[1.0] * 6)
    optimizer.step()
    np.testing.assert_allclose(model.state_dict()["0.weight"], before - 0.1, rtol=1e-14)


def test_a_copy_has_a_model_of_its_own_and_no_hooks() -> None:
    """What is done with the copy does not touch the original."""
    model, tape = three(), Tape()
    optimizer = mg.SGD(model, lr=0.1, momentum=0.9)
    optimizer.attach(tape)
    other = copy.deepcopy(optimizer)
    give(other.model, *[1.0] * 6)
    other.step()
    assert list(range(1, 7)) == mg.ParameterVector.of(model).values.tolist()
    assert (0, 1, []) == (optimizer.step_count, other.step_count, tape.events)
    with pytest.raises(MissingGradientError):
        optimizer.step()


# -- parts of a model ----------------------------------------------------------------------------


def test_two_optimizers_have_gradients_of_their_own() -> None:
    """The step of one does not use up the gradients of the other's part."""
    model = three()
    first, second = mg.SGD(model[:2], lr=1), mg.SGD(model[2:], lr=2)
    give(model, *[1.0] * 6)
    first.step()
    second.step()
    assert [0, 1, 2, 3, 3, 4] == mg.ParameterVector.of(model).values.tolist()
    for optimizer in (first, second):
        with pytest.raises(MissingGradientError):
            optimizer.step()


def test_patterns_are_names_relative_to_the_part() -> None:
    """`weight_decay` by name, over a part, uses the names of the part."""
    model = three()
    optimizer = mg.SGD(model[1:], lr=1, weight_decay={"1.weight": 0.5})
    give(model, *[0.0] * 6)
    optimizer.step()
    assert [1, 2, 3, 4, 2.5, 3] == mg.ParameterVector.of(model).values.tolist()


def test_the_rate_may_be_assigned() -> None:
    """A number or a schedule; a wrong one is refused and the old one kept."""
    model = three()
    optimizer = mg.SGD(model, lr=1)
    optimizer.lr = 0.5
    give(model, *[1.0] * 6)
    optimizer.step()
    optimizer.lr = lambda step: 0.25 * step
    with pytest.raises(KindError):
        optimizer.lr = "fast"  # type: ignore[assignment]
    give(model, *[1.0] * 6)
    optimizer.step()
    assert [0.25, 1.25, 2.25, 3.25, 4.25, 5.25] == mg.ParameterVector.of(model).values.tolist()
