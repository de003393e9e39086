"""How gradients arrive: reading is never an action, and each way to write is known."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from case_support import sparse
from gradient_support import Either, Fails, X, back, grads_of, model_of

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import (
    HookError,
    KindError,
    MissingGradientError,
    ShapeError,
    UntrainedParameter,
)

# -- reading -------------------------------------------------------------------------------------

LOOKS: dict[str, Callable[[mg.Layer, mg.Parameter], object]] = {
    "grad": lambda model, p: p.grad,
    "flat": lambda model, p: mg.ParameterVector.of(model).grads,
    "norm": lambda model, p: np.linalg.norm(p.grad),
    "print": lambda model, p: (str(p.grad), repr(p.grad), repr(p), f"{p.grad}"),
    "part": lambda model, p: p.grad[0],
    "slice": lambda model, p: p.grad[:2].sum(),
    "mask": lambda model, p: p.grad[p.grad > 0],
    "arithmetic": lambda model, p: 2 * p.grad + p.grad**2 - abs(p.grad),
    "functions": lambda model, p: (
        np.sqrt(np.abs(p.grad)),
        p.grad.mean(),
        np.clip(p.grad, -1, 1),
        p.grad @ p.grad,
    ),
    "copies": lambda model, p: (
        p.grad.copy(),
        copy.copy(p.grad),
        copy.deepcopy(p.grad),
        pickle.dumps(p.grad),
    ),
    "plain": lambda model, p: (np.asarray(p.grad), np.array(p.grad), list(p.grad), p.grad.tolist()),
    "shapes": lambda model, p: (p.grad.reshape(-1), p.grad.T, p.grad.ravel(), p.grad[np.newaxis]),
    "iteration": lambda model, p: [float(g) for g in p.grad],
    "state": lambda model, p: (model.state_dict(), copy.deepcopy(model), model.summary()),
}


@sparse(
    pytest.mark.parametrize("look", LOOKS),
    pytest.mark.parametrize("where", ["in backward", "between"]),
)
def test_reading_is_no_action(look: str, where: str) -> None:
    """However a gradient is read, in a backward or after it, a parameter that backward did not
    reach gets no update.
    """
    layer = Either()
    model = mg.Sequential(layer)
    optimizer = mg.SGD(model, 1.0)
    back(model)
    optimizer.step()  # the left one, whose gradient lies there from now on
    layer.use_left = False
    left = layer.left.value.copy()
    if where == "in backward":
        layer.looks = lambda own: [
            LOOKS[look](own, parameter) for parameter in (own.left, own.right)
        ]
    back(model)
    if where == "between":
        for parameter in (layer.left, layer.right):
            LOOKS[look](model, parameter)
    before = (layer.left.arrival, layer.right.arrival)
    assert before[0] is None
    assert before[1] is not None
    assert not before[1].by_hand
    optimizer.step()
    assert left.tobytes() == layer.left.value.tobytes()
    with pytest.raises(MissingGradientError):
        optimizer.step()


def test_events_are_read_without_an_action() -> None:
    """Hooks that read all that events hand out change neither freshness nor reasons."""

    class Reads(mg.Hook):
        def on_backward(self, event: mg.Backward) -> None:
            _ = [
                (parameter.grad.sum(), parameter.arrival)
                for _, parameter in event.layer.parameters()
            ]

        def on_step(self, event: mg.Step) -> None:
            _ = (dict(event.grads), dict(event.updates), dict(event.values))

        before_step = on_step

    found = []
    for reads in (False, True):
        model = model_of("relu")
        optimizer = mg.SGD(model, 0.1)
        if reads:
            model.attach(Reads())
            optimizer.attach(Reads())
        with mg.Recorder(optimizer, coactivation=True) as recorder:
            for _ in range(3):
                back(model, X * [1, 1, 0])
                optimizer.step()
        found.append([recorder.run[name].why.counts for name in recorder.run])
    assert found[0] == found[1]
    assert mg.Reason.INPUT_ZERO in found[0][0]


@pytest.mark.parametrize("flat", [False, True])
def test_what_bypasses_the_owner_raises(flat: bool) -> None:
    """Memory that is reached on another way than the view's own cannot be written."""
    model = model_of()
    back(model)
    grad = mg.ParameterVector.of(model).grads if flat else model[0].weight.grad
    before = np.array(grad)
    bypasses: list[Callable[[], object]] = [
        lambda: np.copyto(grad, 1),
        lambda: grad.sort(),
        lambda: grad.reshape(-1).__setitem__(0, 1),
        lambda: np.asarray(grad).__setitem__(0, 1),
        lambda: np.random.default_rng(0).shuffle(grad),
        lambda: np.dot(np.ones(3, np.float32), np.ones((3, 4), np.float32), out=grad),
        lambda: grad.put(0, 1),
        lambda: grad.setflags(write=True),
        lambda: np.nan_to_num(grad, copy=False),
    ]
    for bypass in bypasses:
        with pytest.raises((ValueError, TypeError)):
            bypass()
    assert before.tobytes() == np.array(grad).tobytes()


# -- writing -------------------------------------------------------------------------------------


def test_each_way_to_write_is_known() -> None:
    """Assigned, in place, by slices, masks and ufuncs: it changes the numbers, and the arrival says
    by hand.
    """

    def augmented(model: mg.Sequential, p: mg.Parameter) -> None:
        p.grad *= 2

    def row(model: mg.Sequential, p: mg.Parameter) -> None:
        p.grad[1] *= 2

    def rows(model: mg.Sequential, p: mg.Parameter) -> None:
        for each in p.grad:
            each[...] = 3

    def column(model: mg.Sequential, p: mg.Parameter) -> None:
        p.grad[:, 1][1:] += 2

    writes: list[Callable[[mg.Sequential, mg.Parameter], object]] = [
        augmented,
        row,
        rows,
        column,
        lambda model, p: setattr(p, "grad", np.ones(p.shape)),
        lambda model, p: setattr(p, "grad", p.grad * 2),
        lambda model, p: p.grad.__setitem__(..., 0),
        lambda model, p: p.grad.__setitem__((0, 1), 5),
        lambda model, p: p.grad.__setitem__(slice(1, 2), 0),
        lambda model, p: p.grad.__setitem__(np.array(p.grad > 0), 0),
        lambda model, p: p.grad.__setitem__([0, 2], 4),
        lambda model, p: p.grad.fill(2),
        lambda model, p: np.clip(p.grad, -0.1, 0.1, out=p.grad),
        lambda model, p: np.multiply(p.grad, 3, out=p.grad, where=np.array(p.grad > 0)),
        lambda model, p: np.add.at(p.grad, [0, 0, 1], 1),
        lambda model, p: np.add.reduce(np.ones((2, *p.shape), np.float32), axis=0, out=p.grad),
        lambda model, p: mg.ParameterVector.of(model).grads.__setitem__(slice(0, 5), 1),
        lambda model, p: np.add.at(mg.ParameterVector.of(model).grads, [0, 0, 1], 1),
        lambda model, p: setattr(mg.ParameterVector.of(model), "grads", np.ones(26)),
    ]
    for number, write in enumerate(writes):
        model = model_of()
        back(model)
        before, weight = grads_of(model), model[0].weight
        write(model, weight)
        assert before.tobytes() != grads_of(model).tobytes(), number
        assert weight.arrival is not None, number
        assert weight.arrival.by_hand, number
        if number < len(writes) - 2:  # the last two go over all parameters
            assert model[2].bias.arrival is not None
            assert not model[2].bias.arrival.by_hand, number


@pytest.mark.parametrize(
    "how", ["zero a row", "halve a row", "halve all", "clip", "set a row", "set by the vector"]
)
def test_a_write_into_a_gradient_that_has_not_arrived(how: str) -> None:
    """What an earlier step has used does not come back, whatever is done to a part of it.

    What is set counts alone.
    """
    layer = Either()
    model = mg.Sequential(layer)
    optimizer = mg.SGD(model, 1.0)
    back(model)
    optimizer.step()
    layer.use_left = False
    back(model)
    before = layer.left.value.copy()
    expected = np.zeros(3, np.float32)
    if how == "zero a row":
        layer.left.grad[0] = 0
    elif how == "halve a row":
        layer.left.grad[0:1] *= 0.5
    elif how == "halve all":
        layer.left.grad *= 0.5
    elif how == "clip":
        np.clip(layer.left.grad, -1, 1, out=layer.left.grad)
    elif how == "set a row":
        layer.left.grad[0:1] = 3
        layer.left.grad[1:2] = 4
        expected = np.array([3, 4, 0], np.float32)
    else:
        mg.ParameterVector.of(model).grads[1:3] = 5
        expected = np.array([0, 5, 5], np.float32)
    optimizer.step()
    np.testing.assert_array_equal(before - expected, layer.left.value)


def test_a_layer_that_writes_a_part() -> None:
    """Where a backward assigns some rows of a gradient alone, the others are 0, and not last
    step's.
    """

    class Rows(mg.Layer):
        def __init__(self) -> None:
            self.table = mg.Parameter(np.zeros((4, 2), np.float32))

        def forward(self, x: Array) -> Array:
            self.ids = x[:, 0].astype(int)
            found: Array = self.table.value[self.ids]
            return found

        def backward(self, grad: Array) -> Array:
            self.table.grad[self.ids] = grad
            return np.zeros((len(grad), 1), np.float32)

    model = mg.Sequential(Rows())
    optimizer = mg.SGD(model, 1.0)
    for ids in ([0, 1], [2]):
        model(np.array(ids, np.float32)[:, np.newaxis])
        model.backward(-np.ones((len(ids), 2), np.float32))
        optimizer.step()
    assert [1, 1, 1, 0] == model[0].table.value[:, 0].tolist()


# -- hooks that assign ---------------------------------------------------------------------------


def test_a_hook_that_assigns_in_backward() -> None:
    """Its gradient is used, and the record says that it was changed after backward."""

    class Zeros(mg.Hook):
        def on_backward(self, event: mg.Backward) -> None:
            if event.name == "0":
                event.layer.weight.grad = np.zeros((3, 4))

    model = model_of()
    optimizer = mg.SGD(model, 0.1)
    model.attach(Zeros())
    before = model[0].weight.value.tobytes()
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for _ in range(3):
            back(model)
            optimizer.step()
    assert before == model[0].weight.value.tobytes()
    why = recorder.run["0.weight"].why
    assert {mg.Reason.GRADIENT_ZERO: 12} == why.counts
    assert "changed after backward" in recorder.run.report()


def test_a_hook_that_assigns_after_the_step() -> None:
    """A gradient that `on_step` assigns is used up with the step: the next one needs a new
    gradient.
    """

    class Assigns(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            model[0].weight.grad = np.ones((3, 4))

    model = model_of()
    optimizer = mg.SGD(model, 0.1)
    optimizer.attach(Assigns())
    with mg.Recorder(optimizer, keep=("update", "grad")) as recorder:
        back(model)
        used = np.array(model[0].weight.grad)
        optimizer.step()
    np.testing.assert_array_equal(used, recorder.run["0.weight"].grads[0])
    with pytest.raises(MissingGradientError):
        optimizer.step()


def test_a_hook_that_fails_in_backward_leaves_the_gradient() -> None:
    """The pass is complete when its error is raised, and a step may follow."""

    class Breaks(mg.Hook):
        def on_backward(self, event: mg.Backward) -> None:
            raise ZeroDivisionError

    model = model_of()
    optimizer = mg.SGD(model, 0.1)
    expected = model_of()
    back(expected)
    model.attach(Breaks())
    with pytest.raises(HookError):
        back(model)
    assert grads_of(expected).tobytes() == grads_of(model).tobytes()
    optimizer.step()


# -- parameters of no model ----------------------------------------------------------------------


class Plain:
    """An object that is no layer, with a parameter."""

    def __init__(self) -> None:
        self.alpha = mg.Parameter(np.ones(1, np.float32))


class Scaled(mg.Layer):
    def __init__(self) -> None:
        self.inside = Plain()

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.inside.alpha.value

    def backward(self, grad: Array) -> Array:
        self.inside.alpha.grad = np.array([(grad * self.x).sum()])
        return grad * self.inside.alpha.value


def test_a_parameter_in_a_plain_object() -> None:
    """It gets gradients and is in no model: the first step says that nothing trains it, and what to
    do.
    """
    model = mg.Sequential(mg.Dense(3, 2, rng=0), Scaled())
    optimizer = mg.SGD(model, 0.1)
    for accumulate in (False, True, True):
        back(model, accumulate=accumulate)
    assert 1 == len(mg.ParameterVector.of(model).gradients.orphans)
    with pytest.warns(
        UntrainedParameter,
        match=r"Parameter of shape \(1,\) gets gradients.*assign it to an attribute",
    ):
        optimizer.step()


def test_a_parameter_in_a_list_is_trained() -> None:
    """What is in a list or dict of a layer is a part of the model, and nothing is said."""
    layer = Scaled()
    inside = layer.inside
    layer.held = {"alpha": [inside.alpha]}  # type: ignore[attr-defined]
    model = mg.Sequential(mg.Dense(3, 2, rng=0), layer)
    optimizer = mg.SGD(model, 0.1)
    back(model)
    optimizer.step()
    assert 1 != inside.alpha.value[0]


def test_another_threads_parameter_is_not_taken_for_the_models() -> None:
    """A parameter that another thread gives a gradient, while a backward runs here, is none of this
    model.
    """
    free = mg.Parameter(np.zeros(3))

    class Waits(Fails):
        def backward(self, grad: Array) -> Array:
            other = threading.Thread(target=lambda: setattr(free, "grad", np.ones(3)))
            other.start()
            other.join()
            return grad.copy()

    model = mg.Sequential(mg.Dense(3, 2, rng=0), Waits())
    optimizer = mg.SGD(model, 0.1)
    back(model)
    optimizer.step()  # warnings are errors here
    assert free.arrival is not None


def test_a_subclass_of_sequential() -> None:
    """It is refused when the class is made, with what to write instead."""
    with pytest.raises(
        KindError, match=r"Mine is a subclass of Sequential.*write a Layer that holds a Sequential"
    ):
        type("Mine", (mg.Sequential,), {})


# -- copies and new owners -----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["copied", "put into a larger model"])
def test_a_pending_gradient_of_another_model(how: str) -> None:
    """It is kept and added to.

    But nobody has looked at it, so the record does not explain the sum by the second alone.
    """
    inner = mg.Sequential(mg.Dense(2, 1, bias=False, rng=0))
    inner.backward(
        np.ones_like(inner(np.array([[1, 0], [-1, 0]], np.float32)))
    )  # which cancels out
    model = copy.deepcopy(inner) if how == "copied" else mg.Sequential(inner)
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        model.backward(np.ones_like(model(np.array([[0, 1]], np.float32))), accumulate=True)
        optimizer.step()
    run = recorder.run
    assert {mg.Reason.GRADIENT_ZERO: 1, mg.Reason.MOVED: 1} == run[run.names[0]].why.counts
    assert "input" not in run[run.names[0]].why.at(0, 0).split("(")[0]


def test_wrong_shapes_are_refused_and_change_nothing() -> None:
    """An assigned gradient must have the parameter's shape."""
    model = model_of()
    back(model)
    before = grads_of(model)
    with pytest.raises(ShapeError, match=r"0\.weight"):
        model[0].weight.grad = np.ones(4)
    with pytest.raises(ShapeError):
        mg.ParameterVector.of(model).grads = np.ones(3)
    assert before.tobytes() == grads_of(model).tobytes()
    assert not any(
        parameter.arrival is None or parameter.arrival.by_hand
        for _, parameter in model.parameters()
    )


def test_a_saved_model_has_nothing_pending() -> None:
    """Warnings or not, a backward after a copy is that of the copy alone."""
    model = model_of()
    mg.SGD(model, 0.1)
    back(model)
    other = pickle.loads(pickle.dumps(model))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back(other)
    assert grads_of(model).tobytes() == grads_of(other).tobytes()


def test_part_of_a_part_of_a_gradient_is_written_where_it_lies() -> None:
    """Writing through two indices is the same as through one; a copy of a part writes nothing."""
    layer = mg.Dense(3, 4, bias=False, dtype=np.float64, rng=0)
    layer.weight.grad = np.zeros((3, 4))
    layer.weight.grad[1][2] = 5.0
    layer.weight.grad[1:][1][3] += 2.0
    expected = np.zeros((3, 4))
    expected[1, 2], expected[2, 3] = 5.0, 2.0
    np.testing.assert_array_equal(expected, layer.weight.grad)
    copied = layer.weight.grad[[0, 2]]
    assert type(copied) is np.ndarray
    copied[:] = 9.0
    np.testing.assert_array_equal(expected, layer.weight.grad)


def test_part_of_a_part_of_a_used_gradient_begins_anew() -> None:
    """Only what is written after a step counts for the next one, however deep the part lies."""
    layer = mg.Dense(4, 3, bias=False, dtype=np.float64, rng=0)
    weight = layer.weight
    optimizer = mg.SGD(layer, lr=0.5)
    weight.grad = np.ones((4, 3))
    optimizer.step()
    weight.grad[1:][1:][0] = 5.0
    expected = np.zeros((4, 3))
    expected[2] = 5.0
    np.testing.assert_array_equal(expected, weight.grad)
