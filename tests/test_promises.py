"""The promises of minigrad, one section each: 1 to 8, 10 and 11.

The ninth, on reasons, is tested with the recorder.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from hook_support import Tape, Vandal

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import LabelError, MissingGradientError, ShapeError, StaleParametersError

FloatType = type[np.float32] | type[np.float64]
MakeOptimizer = Callable[[mg.Layer], mg.Optimizer]
State = dict[str, npt.NDArray[Any]]


# -- what the tests train ------------------------------------------------------------------------


class Residual(mg.Layer):
    """A composite with an inner chain and a parameter of its own, whose gradient it writes in
    place.
    """

    def __init__(self, features: int, dtype: FloatType) -> None:
        self.gain = mg.Parameter(np.ones(features, dtype))
        self.inner = mg.Sequential(
            mg.Dense(features, features, dtype=dtype, rng=3), mg.Activation("tanh")
        )

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * self.gain.value + self.inner(x)

    def backward(self, grad: Array) -> Array:
        np.sum(grad * self.x, axis=0, out=self.gain.grad)
        below = self.inner.backward(grad)
        assert below is not None
        return grad * self.gain.value + below


class Sometimes(mg.Layer):
    """A layer with two branches; backward reaches only the one that ran."""

    def __init__(self, features: int, dtype: FloatType) -> None:
        self.left = mg.Parameter(np.full(features, 1.5, dtype))
        self.right = mg.Parameter(np.full(features, 0.5, dtype))
        self.use_left = True

    def forward(self, x: Array) -> Array:
        self.x = x
        return x * (self.left if self.use_left else self.right).value

    def backward(self, grad: Array) -> Array:
        used = self.left if self.use_left else self.right
        used.grad = (grad * self.x).sum(axis=0)
        return grad * used.value


class Drift(mg.Optimizer):
    """A custom optimizer with a state, one that moves entries whose gradient is 0 as well."""

    def compute(self, values: Array, grads: Array, update: Array) -> None:
        speed = self.state("speed")
        speed *= 0.5
        speed -= self.current_lr * np.sign(grads + values)
        update[...] = speed


def build(dtype: FloatType, seed: int = 0) -> mg.Sequential:
    """A nested model with a composite and a frozen layer that holds -0.0."""
    rng = np.random.default_rng(seed)
    model = mg.Sequential(
        mg.Dense(6, 4, dtype=dtype, rng=rng),
        mg.Activation("sigmoid"),
        mg.Sequential(mg.Dense(4, 4, dtype=dtype, rng=rng), Residual(4, dtype)),
        mg.Dense(4, 4, dtype=dtype, rng=rng),
        mg.Dense(4, 3, dtype=dtype, rng=rng),
    )
    frozen = dict(model.parameters())["3.weight"]
    frozen.value[0] = -0.0
    model[3].freeze()
    for name, parameter in model.parameters():
        if name.endswith("weight"):
            parameter.value[-1, -1] = -0.0  # trainable entries too
    return model


def data_of(dtype: FloatType, n: int = 40) -> tuple[Array, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(8)
    x: Array = rng.normal(size=(n, 6)).astype(dtype)
    x[:, 2] = 0  # an input that is always 0: its entries of the first weight have the gradient 0
    return x, rng.integers(0, 3, size=n)


def steps(
    model: mg.Sequential, loss: mg.Loss, optimizer: mg.Optimizer, data: mg.Batches
) -> Iterator[int]:
    """Train without an end; yields after each step."""
    while True:
        for x, y in data:
            loss.forward(model(x), y)
            model.backward(loss.backward())
            optimizer.step()
            yield optimizer.step_count


def train(
    model: mg.Sequential, optimizer: mg.Optimizer, count: int, data: mg.Batches | None = None
) -> None:
    x, y = data_of(mg.ParameterVector.of(model).values.dtype.type)
    data = mg.Batches(x, y, batch_size=16, rng=1) if data is None else data
    for _, _ in zip(
        range(count), steps(model, mg.SoftmaxCrossEntropy(), optimizer, data), strict=False
    ):
        pass


def bits(model: mg.Layer) -> dict[str, bytes]:
    return {name: parameter.value.tobytes() for name, parameter in model.parameters()}


def halving(step: int) -> float:
    return 0.5 / (1 + step)


OPTIMIZERS: dict[str, MakeOptimizer] = {
    "plain": lambda model: mg.SGD(model, lr=0.3),
    "momentum": lambda model: mg.SGD(model, lr=0.1, momentum=0.9),
    "nesterov": lambda model: mg.SGD(model, lr=0.1, momentum=0.9, nesterov=True),
    "decay": lambda model: mg.SGD(model, lr=0.3, weight_decay=0.1),
    "decay by pattern": lambda model: mg.SGD(
        model, lr=0.3, momentum=0.5, weight_decay={"*weight": 0.1, "4.*": 0.01}
    ),
    "clipping": lambda model: mg.SGD(model, lr=0.3, max_grad_norm=0.05),
    "schedule": lambda model: mg.SGD(model, lr=halving),
    "all": lambda model: mg.SGD(
        model,
        lr=halving,
        momentum=0.9,
        nesterov=True,
        weight_decay={"*.weight": 0.1},
        max_grad_norm=0.1,
    ),
    "tiny rate": lambda model: mg.SGD(model, lr=1e-9),
    "custom": lambda model: Drift(model, lr=0.01, max_grad_norm=1.0),
}
optimizers = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS.keys())
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


# -- 1: replay -----------------------------------------------------------------------------------


@sparse(optimizers, dtypes)
def test_1_updates_replay_to_the_final_bits(make: MakeOptimizer, dtype: FloatType) -> None:
    """Initial values plus the updates, added in order, are the final values bit for bit."""
    model, tape = build(dtype), Tape()
    optimizer, initial = make(model), model.state_dict()
    optimizer.attach(tape)
    train(model, optimizer, 20)
    assert 20 == len(tape.updates)
    assert bits(model) == tape.replayed(initial)
    assert initial["3.weight"].tobytes() == bits(model)["3.weight"]
    assert np.signbit(initial["3.weight"][0]).all()


@sparse(optimizers, dtypes, every=2)
def test_1_freezing_on_the_way_replays(make: MakeOptimizer, dtype: FloatType) -> None:
    """Freezing, thawing and freezing again between steps leaves no update of an earlier step
    behind.
    """
    model, tape = build(dtype), Tape()
    optimizer, initial = make(model), model.state_dict()
    optimizer.attach(tape)
    for act in (
        model[3].unfreeze,
        model[3].freeze,
        model[0].freeze,
        model.unfreeze,
        model[0].freeze,
        model.freeze,
    ):
        before = bits(model)
        act()
        train(model, optimizer, 2)
        frozen = {name for name, parameter in model.parameters() if not parameter.trainable}
        assert not {name for name in frozen if before[name] != bits(model)[name]}
        for name in frozen:
            assert not tape.updates[-1][name].any()
            assert np.signbit(tape.updates[-1][name]).all()
    assert bits(model) == tape.replayed(initial)


@sparse(optimizers, dtypes)
def test_1_parts_without_gradient_replay(make: MakeOptimizer, dtype: FloatType) -> None:
    """A branch that backward does not reach in some steps replays as well."""
    sometimes = Sometimes(6, dtype)
    model = mg.Sequential(sometimes, mg.Dense(6, 3, dtype=dtype, rng=1))
    optimizer, initial, tape = make_without_patterns(make, model), model.state_dict(), Tape()
    optimizer.attach(tape)
    for use_left in (True, False, False, True, True, False):
        sometimes.use_left = use_left
        train(model, optimizer, 1)
        unused = "0.right" if use_left else "0.left"
        assert np.signbit(tape.updates[-1][unused]).all()
        assert not tape.updates[-1][unused].any()
    assert bits(model) == tape.replayed(initial)


def make_without_patterns(make: MakeOptimizer, model: mg.Layer) -> mg.Optimizer:
    try:
        return make(model)
    except mg.errors.ModelError:  # the patterns name a layer that this model does not have
        return mg.SGD(model, lr=0.3, weight_decay={"*weight": 0.1})


@pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")
@sparse(optimizers, dtypes)
def test_1_two_optimizers_over_two_slices_replay(make: MakeOptimizer, dtype: FloatType) -> None:
    """Each of two optimizers over parts of one model tells exactly what it did to its part."""
    model = build(dtype)
    body, head = model[:3], model[3:]
    first, second = make_without_patterns(make, body), mg.SGD(head, lr=0.2, momentum=0.5)
    tapes, states = (Tape(), Tape()), (body.state_dict(), head.state_dict())
    first.attach(tapes[0])
    second.attach(tapes[1])
    x, y = data_of(dtype)
    loss = mg.SoftmaxCrossEntropy()
    for step in range(10):
        loss.forward(model(x), y)
        model.backward(loss.backward())
        first.step()
        if step % 2:
            second.step()
    assert bits(body) == tapes[0].replayed(states[0])
    assert bits(head) == tapes[1].replayed(states[1])
    assert list(bits(model).values()) == [*bits(body).values(), *bits(head).values()]


# -- 2: watching changes nothing -----------------------------------------------------------------


@sparse(optimizers, dtypes)
def test_2_hooks_change_no_bit(make: MakeOptimizer, dtype: FloatType) -> None:
    """Training with hooks attached gives the same bits as without, whatever they do to what they
    are given.
    """
    plain, watched, vandal = build(dtype), build(dtype), Vandal()
    train(plain, make(plain), 12)
    optimizer = make(watched)
    with watched.attach(vandal), optimizer.attach(vandal), watched.attach(Vandal()):
        train(watched, optimizer, 12)
    assert vandal.calls > 12
    assert bits(plain) == bits(watched)


@dtypes
def test_2_looking_at_gradients_is_not_writing_them(dtype: FloatType) -> None:
    """A hook that reads `.grad` of a part that backward did not reach does not bring its old
    gradient back.
    """

    class Reader(mg.Hook):
        def on_backward(self, event: mg.Backward) -> None:
            for _, parameter in model.parameters():
                parameter.grad.any()

    ends = []
    for watched in (False, True):
        sometimes = Sometimes(6, dtype)
        model = mg.Sequential(sometimes, mg.Dense(6, 3, dtype=dtype, rng=1))
        optimizer = mg.SGD(model, lr=0.1)
        train(model, optimizer, 1)
        sometimes.use_left = False
        if watched:
            model.attach(Reader())
        train(model, optimizer, 2)
        ends.append(bits(model))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("what", ["indices", "skipped"])
def test_2_what_a_hook_writes_reaches_nobody_else(what: str) -> None:
    """Also the small things of an event are safe from a hook that writes into them: other hooks see
    the truth.
    """

    class Careless(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            thing = getattr(event, what)
            try:
                thing[0 if what == "indices" else "4.bias"] = 99
            except (TypeError, ValueError):
                return  # it cannot be written into: all the better
            if isinstance(thing, dict):
                written.append(thing)

    class Keeper(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            assert event.indices is not None
            seen.append((event.indices.tolist(), dict(event.skipped)))

    written: list[dict[str, object]] = []
    seen: list[tuple[list[int], dict[str, str]]] = []
    model, rows = build(np.float32).unfreeze(), np.arange(5)
    optimizer = mg.SGD(model, lr=0.1)
    optimizer.attach(Careless())
    optimizer.attach(Keeper())
    for _ in range(2):
        model.backward(np.ones_like(model(np.ones((5, 6), np.float32))))
        optimizer.step(indices=rows)
    for thing in written:
        thing.pop("4.bias", None)  # leave nothing behind for other tests
    expected: tuple[list[int], dict[str, str]] = ([0, 1, 2, 3, 4], {})
    assert [expected, expected] == seen
    assert [0, 1, 2, 3, 4] == rows.tolist()


# -- 3: no stale views ---------------------------------------------------------------------------


def put_into_a_larger_one(model: mg.Sequential) -> mg.Sequential:
    return mg.Sequential(
        model, mg.Dense(3, 2, dtype=mg.ParameterVector.of(model).values.dtype, rng=0)
    )


def assign(model: mg.Sequential) -> mg.Sequential:
    for _, parameter in model.parameters():
        parameter.value = np.asarray(parameter.value * 2)
        parameter.grad = np.ones(parameter.shape)
    return model


def update_in_place(model: mg.Sequential) -> mg.Sequential:
    for _, parameter in model.parameters():
        parameter.value += 1
        parameter.grad -= 1
    return model


def load(model: mg.Sequential) -> mg.Sequential:
    model.load_state_dict(build(np.float64, seed=4).state_dict())
    return model


def freeze_and_thaw(model: mg.Sequential) -> mg.Sequential:
    model.freeze()
    return model.unfreeze()


def train_by_two(model: mg.Sequential) -> mg.Sequential:
    first, second = mg.SGD(model[:3], lr=0.1), mg.SGD(model[3:], lr=0.1, momentum=0.9)
    dtype = mg.ParameterVector.of(model).values.dtype
    for _ in range(3):
        model.backward(model(np.ones((2, 6), dtype)))
        first.step()
        second.step()
    return model


def take_slices(model: mg.Sequential) -> mg.Sequential:
    for part in (model[:2], model[2:], model[:], model[2:][0:1]):
        mg.ParameterVector.of(part)
    return model


def predict_and_look(model: mg.Sequential) -> mg.Sequential:
    model.predict(np.ones((5, 6)), batch_size=2)
    assert repr(model)
    assert model.summary()
    return model


OPERATIONS: dict[str, Callable[[mg.Sequential], mg.Sequential]] = {
    "nothing": lambda model: model,
    "assignment": assign,
    "change in place": update_in_place,
    "nesting": put_into_a_larger_one,
    "nesting twice": lambda model: put_into_a_larger_one(mg.Sequential(model)),
    "freezing": freeze_and_thaw,
    "load_state_dict": load,
    "two optimizers": train_by_two,
    "slices": take_slices,
    "predict": predict_and_look,
    "deep copy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "a copy made of it": lambda model: (copy.deepcopy(model), model)[1],
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
@dtypes
def test_3_named_arrays_are_views_of_the_flat_ones(
    operation: Callable[[mg.Sequential], mg.Sequential], dtype: FloatType
) -> None:
    """Whatever was done before, a write into the vector is seen by name, and one by name in the
    vector.
    """
    original = build(dtype)
    model = operation(original)
    vector = mg.ParameterVector.of(model)
    assert vector is mg.ParameterVector.of(model)
    assert [name for name, _ in model.parameters()] == list(vector.slots)
    assert vector.values.size == sum(parameter.size for _, parameter in model.parameters())
    vector.values[...] = np.arange(vector.values.size)
    vector.grads[...] = -np.arange(vector.values.size)
    for name, parameter in model.parameters():
        expected = np.arange(vector.slots[name].slice.start, vector.slots[name].slice.stop).reshape(
            parameter.shape
        )
        assert np.array_equal(expected, parameter.value)
        assert np.array_equal(-expected, parameter.grad)
        parameter.value = np.full(parameter.shape, 7)
        parameter.grad = np.full(parameter.shape, -7)
    assert (vector.values == 7).all()
    assert (vector.grads == -7).all()
    if model is not original and not isinstance(
        model[0], mg.Sequential
    ):  # a copy: the original is not concerned
        assert not (mg.ParameterVector.of(original).values == 7).any()


@dtypes
def test_3_an_optimizer_moves_what_forward_reads(dtype: FloatType) -> None:
    """After a step, the output is that of the new values, computed here from the named arrays."""
    model = mg.Sequential(
        mg.Dense(6, 4, dtype=dtype, rng=0),
        mg.Activation("tanh"),
        mg.Dense(4, 3, dtype=dtype, rng=1),
    )
    optimizer = mg.SGD(model, lr=0.5)
    x, _ = data_of(dtype)
    before = model(x)
    model.backward(before)
    optimizer.step()
    w1, b1, w2, b2 = (parameter.value for _, parameter in model.parameters())
    np.testing.assert_allclose(model(x), np.tanh(x @ w1 + b1) @ w2 + b2, rtol=1e-4, atol=1e-6)
    assert not np.allclose(before, model(x))


def test_3_a_model_put_into_a_larger_one_keeps_its_values() -> None:
    """The larger model takes the values over, bit for bit, and the smaller one goes on to work."""
    encoder = build(np.float32)
    before, x = bits(encoder), data_of(np.float32)[0]
    output = encoder(x)
    whole = put_into_a_larger_one(encoder)
    assert before == bits(encoder)
    assert output.tobytes() == encoder(x).tobytes()
    assert list(before.values()) == list(bits(whole).values())[:-2]
    optimizer = mg.SGD(whole, lr=0.5)
    whole.backward(whole(x))
    optimizer.step()
    assert list(bits(encoder).values()) == list(bits(whole).values())[:-2]
    assert before != bits(encoder)


@optimizers
def test_3_an_optimizer_whose_parameters_moved_raises(make: MakeOptimizer) -> None:
    """It does not write into a buffer that nobody reads, and changes nothing."""
    encoder = build(np.float32)
    optimizer = make(encoder)
    train(encoder, optimizer, 1)
    whole = put_into_a_larger_one(encoder)
    before = bits(whole)
    whole.backward(whole(data_of(np.float32)[0]))
    with pytest.raises(StaleParametersError, match="moved into another model; make a new one"):
        optimizer.step()
    assert 1 == optimizer.step_count
    assert before == bits(whole)


def test_3_a_part_that_was_taken_away_makes_the_whole_stale() -> None:
    """An optimizer of a model raises as well when one of its layers alone went into another
    model.
    """
    model = build(np.float32)
    optimizer = mg.SGD(model, lr=0.1)
    part = mg.SGD(model[2:], lr=0.1)
    mg.Sequential(model[0], mg.Dense(4, 1, rng=0))
    for stale in (optimizer, part):
        model.backward(model(data_of(np.float32)[0]))
        with pytest.raises(StaleParametersError):
            stale.step()


def test_3_a_slice_of_a_model_that_moved_apart_raises() -> None:
    """A slice whose layers lie in two models has no vector; the message says what to do."""
    model = build(np.float32)
    part = model[:3]
    mg.Sequential(model[0])
    with pytest.raises(StaleParametersError, match="take a slice of the new one"):
        mg.ParameterVector.of(part)


def test_3_assigning_to_the_vector_of_a_model_that_moved_raises() -> None:
    """Writing gradients into a vector that nobody reads any more is an error, not a silent loss."""
    model = build(np.float32)
    vector = mg.ParameterVector.of(model)
    put_into_a_larger_one(model)
    with pytest.raises(StaleParametersError):
        vector.grads = np.zeros(vector.values.size)


@pytest.mark.parametrize("moment", ["before backward", "between backward and step"])
def test_3_a_parameter_object_replaced_on_a_layer_raises(moment: str) -> None:
    """`layer.weight = Parameter(...)` takes the parameter out of the model's memory.

    The next step says so.
    """
    layer = mg.Dense(6, 3, rng=0)
    model = mg.Sequential(layer)
    optimizer = mg.SGD(model, lr=0.1)
    train(model, optimizer, 1)
    new = mg.Parameter(np.zeros((6, 3), np.float32))
    if moment == "between backward and step":
        model.backward(model(data_of(np.float32)[0]))
        layer.weight = new
    else:
        layer.weight = new
        model.backward(model(data_of(np.float32)[0]))
    with pytest.raises(StaleParametersError, match="replaced"):
        optimizer.step()
    assert not new.value.any()
    assert 1 == optimizer.step_count


class Holder(mg.Layer):
    """x times the sum of parameters that stand in an attribute, a list, a dict, a tuple, and a
    tuple in a list.
    """

    def __init__(self) -> None:
        self.plain = self.made(0.1)
        self.listed = [self.made(0.2), self.made(0.3)]
        self.table = {"a": self.made(0.4)}
        self.pair = (self.made(0.5), self.made(0.6))
        self.deep = [(self.made(0.7),)]

    @staticmethod
    def made(value: float) -> mg.Parameter:
        return mg.Parameter(np.full(2, value, np.float32))

    def forward(self, x: Array) -> Array:
        self.x = x
        return np.asarray(x * sum(parameter.value for _, parameter in self.parameters()))

    def backward(self, grad: Array) -> Array:
        for _, parameter in self.parameters():
            parameter.grad = (grad * self.x).sum(axis=0)
        return np.asarray(grad * sum(parameter.value for _, parameter in self.parameters()))


REPLACE: dict[str, Callable[[Holder, mg.Parameter], object]] = {
    "plain": lambda layer, new: setattr(layer, "plain", new),
    "listed.1": lambda layer, new: layer.listed.__setitem__(1, new),
    "listed.0": lambda layer, new: setattr(layer, "listed", [new, layer.listed[1]]),
    "table.a": lambda layer, new: layer.table.update(a=new),
    "pair.0": lambda layer, new: setattr(layer, "pair", (new, layer.pair[1])),
    "pair.1": lambda layer, new: setattr(layer, "pair", (layer.pair[0], new)),
    "deep.0.0": lambda layer, new: layer.deep.__setitem__(0, (new,)),
}


@pytest.mark.parametrize("name", REPLACE)
def test_3_a_new_optimizer_trains_the_parameter_that_was_put_in(name: str) -> None:
    """Wherever a parameter is replaced: the old optimizer raises, a new one and the model's vector
    have the new one.
    """
    layer = Holder()
    model = mg.Sequential(layer)
    x = np.ones((3, 2), np.float32)
    old, vector = mg.SGD(model, lr=0.1, momentum=0.5), mg.ParameterVector.of(model)
    model.backward(model(x))
    old.step()
    replaced = dict(model.parameters())[f"0.{name}"]
    new = Holder.made(5)
    REPLACE[name](layer, new)
    model.backward(model(x))
    before = bits(model)
    with pytest.raises(StaleParametersError, match=r"replaced by another object.*make a new SGD"):
        old.step()
    assert before == bits(model)
    assert 1 == old.step_count

    optimizer = mg.SGD(model, lr=0.1)
    again = mg.ParameterVector.of(model)
    assert vector is not again
    assert list(vector.slots) == list(again.slots)
    assert any(parameter is new for parameter in again.parameters)
    assert not any(parameter is replaced for parameter in again.parameters)
    assert np.shares_memory(new.value, again.values)
    model.backward(model(x))
    grad = new.grad.copy()
    optimizer.step()
    assert grad.any()
    assert np.array_equal(np.float32(5) - np.float32(0.1) * grad, new.value)
    assert np.array_equal(x * sum(parameter.value for _, parameter in model.parameters()), model(x))
    with pytest.raises(StaleParametersError):
        old.step()


@pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")
def test_3_a_dense_weight_that_was_put_in_is_trained() -> None:
    """`model[0].weight = Parameter(...)` and a new optimizer: the model computes with it, and it
    learns.
    """
    model = build(np.float32)
    old = mg.SGD(model, lr=0.1)
    train(model, old, 2)
    new = mg.Parameter(np.zeros((6, 4), np.float32))
    model[0].weight = new
    with pytest.raises(StaleParametersError):
        train(model, old, 1)
    train(model, mg.SGD(model, lr=0.1), 1)
    assert new.value.any()
    assert "0.weight" == new.name
    assert np.shares_memory(new.value, mg.ParameterVector.of(model).values)
    assert new.value.tobytes() == model.state_dict()["0.weight"].tobytes()


@pytest.mark.parametrize("kind", ["list", "dict"])
def test_3_a_parameter_that_was_taken_out_raises(kind: str) -> None:
    """A parameter that is gone from a list or a dict is noticed as one that was replaced."""
    layer = Holder()
    model = mg.Sequential(layer)
    old = mg.SGD(model, lr=0.1)
    if kind == "list":
        layer.listed.pop()
    else:
        layer.table.clear()
    model.backward(model(np.ones((3, 2))))
    with pytest.raises(StaleParametersError):
        old.step()
    optimizer = mg.SGD(model, lr=0.1)
    model.backward(model(np.ones((3, 2))))
    optimizer.step()
    assert 12 == mg.ParameterVector.of(model).values.size


def test_3_optimizers_over_slices_share_the_models_vector() -> None:
    """Two optimizers over parts write into the memory of the one model.

    Each leaves the other's part alone.
    """
    model = build(np.float64)
    vector = mg.ParameterVector.of(model)
    body, head = mg.ParameterVector.of(model[:3]), mg.ParameterVector.of(model[4])
    assert np.shares_memory(vector.values, body.values)
    assert np.shares_memory(vector.grads, head.grads)
    assert ["weight", "bias"] == list(head.slots)
    before = bits(model)
    model.backward(model(data_of(np.float64)[0]))
    mg.SGD(model[4], lr=0.1).step()
    assert ["4.weight", "4.bias"] == [
        name for name, value in bits(model).items() if value != before[name]
    ]


# -- 4: an array you hold never changes ----------------------------------------------------------


class Collector(mg.Hook):
    """Keeps every array that events hand out by name."""

    def __init__(self) -> None:
        self.arrays: list[Array] = []

    def on_forward(self, event: mg.Forward) -> None:
        self.arrays += [event.input, event.output]

    def on_backward(self, event: mg.Backward) -> None:
        self.arrays += [
            array for array in (event.output_grad, event.input_grad) if array is not None
        ]

    def on_step(self, event: mg.Step) -> None:
        self.arrays += [*event.updates.values(), *event.grads.values(), *event.values.values()]


@dtypes
def test_4_no_array_that_was_handed_out_ever_changes(dtype: FloatType) -> None:
    """Outputs, gradients, predictions, batches, events and states stay as they were while training
    goes on.
    """
    model, collector, loss = build(dtype), Collector(), mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, lr=0.1, momentum=0.9, weight_decay=0.01, max_grad_norm=1)
    x, y = data_of(dtype)
    data = mg.Batches(x, y, batch_size=16, rng=1)
    model.attach(collector)
    optimizer.attach(collector)
    held: list[npt.NDArray[Any]] = []
    kept: list[bytes] = []
    for _ in range(3):
        for batch, labels in data:
            output = model(batch)
            samples = loss.per_sample(output, labels)
            loss.forward(output, labels)
            grad = loss.backward()
            below = model.backward(grad, input_grad=True)
            assert below is not None
            optimizer.step()
            held += [
                batch,
                labels,
                output,
                samples,
                grad,
                below,
                model.predict(batch, batch_size=5),
                data.indices,
            ]
            held += [
                *model.state_dict().values(),
                *optimizer.state_dict()["state"]["velocity"].values(),
            ]
            held += [data.state_dict()["order"], *collector.arrays]
            collector.arrays.clear()
            kept += [array.tobytes() for array in held[len(kept) :]]
    assert len(held) > 100
    assert kept == [array.tobytes() for array in held]


def test_4_live_arrays_are_the_documented_ones() -> None:
    """`value`, `grad`, `values` and `grads` do change: they show what training does."""
    model = build(np.float32)
    vector = mg.ParameterVector.of(model)
    live = [vector.values, vector.grads, *(p.value for _, p in model.parameters() if p.trainable)]
    before = [array.copy() for array in live]
    train(model, mg.SGD(model, lr=0.5), 2)
    assert not any(np.array_equal(old, new) for old, new in zip(before, live, strict=True))


@dtypes
def test_4_writing_into_what_was_handed_out_spoils_nothing(dtype: FloatType) -> None:
    """The caller may write into outputs, predictions, states, batches and gradients.

    Training goes on alike.
    """
    ends = []
    for write in (False, True):
        model, loss = build(dtype), mg.SoftmaxCrossEntropy()
        optimizer = mg.SGD(model, lr=0.1, momentum=0.9)
        x, y = data_of(dtype)
        data = mg.Batches(x, y, batch_size=16, rng=1)
        for _ in range(2):
            for batch, labels in data:
                output = model(batch)
                loss.forward(output, labels)
                grad = loss.backward()
                below = model.backward(grad, input_grad=True)
                optimizer.step()
                if write:
                    mine: list[npt.NDArray[Any]] = [
                        batch,
                        labels,
                        output,
                        grad,
                        data.indices,
                        model.predict(batch),
                    ]
                    mine += [data.state_dict()["order"], *model.state_dict().values()]
                    mine += optimizer.state_dict()["state"]["velocity"].values()
                    for array in [*mine, *([] if below is None else [below])]:
                        array.fill(0)
        ends.append(bits(model))
    assert ends[0] == ends[1]


# -- 5: value and gradient belong together -------------------------------------------------------


def test_5_the_whole_model_is_differentiated_right() -> None:
    """Loss and nested model together: every parameter and the input, against central differences in
    float64.
    """
    model, loss = (
        build(np.float64),
        mg.SoftmaxCrossEntropy(label_smoothing=0.1, class_weight=[1, 2, 3]),
    )
    x, y = data_of(np.float64, n=5)
    vector = mg.ParameterVector.of(model)
    loss.forward(model(x), y)
    below = model.backward(loss.backward(), input_grad=True)
    assert below is not None
    for array, found in ((vector.values, vector.grads.copy()), (x, below)):
        expected = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            kept, ends = array[place], []
            for eps in (1e-6, -1e-6):
                array[place] = kept + eps
                ends.append(loss.forward(model(x), y))
            array[place] = kept
            expected[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_5_the_gradient_is_that_of_the_value_returned_last() -> None:
    """Looking at the losses of other samples between forward and backward does not change the
    gradient.
    """
    loss = mg.SoftmaxCrossEntropy()
    logits, labels = np.array([[1.0, 2.0], [0.5, 0.0]]), np.array([0, 1])
    value = loss.forward(logits, labels)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) / 2
    expected[[0, 1], labels] -= 0.5
    loss.per_sample(np.array([[9.0, -3.0]]), np.array([0]))
    assert value == loss.value
    np.testing.assert_allclose(loss.backward(), expected, rtol=1e-12)


def test_5_the_first_layers_input_gradient_is_left_out_but_nothing_else() -> None:
    """`backward(grad)` and `backward(grad, input_grad=True)` write the same gradients.

    Only one returns something.
    """
    model, x = build(np.float64), data_of(np.float64)[0]
    output = model(x)
    assert model.backward(output) is None
    without = mg.ParameterVector.of(model).grads.tobytes()
    model(x)
    below = model.backward(output, input_grad=True)
    assert below is not None
    assert without == mg.ParameterVector.of(model).grads.tobytes()


# -- 6: nothing broadcasts by accident -----------------------------------------------------------


BROADCASTS: dict[str, Callable[[], object]] = {
    "labels (n, 1)": lambda: mg.SoftmaxCrossEntropy().forward(
        np.ones((3, 2)), np.ones((3, 1), int)
    ),
    "one row of probabilities": lambda: mg.SoftmaxCrossEntropy().forward(
        np.ones((3, 2)), np.ones((1, 2)) / 2
    ),
    "one label": lambda: mg.SoftmaxCrossEntropy().forward(np.ones((3, 2)), np.ones(1, int)),
    "a label without axis": lambda: mg.SoftmaxCrossEntropy().forward(np.ones((3, 2)), np.array(1)),
    "logits (n, c, 1)": lambda: mg.SoftmaxCrossEntropy().forward(
        np.ones((3, 2, 1)), np.ones(3, int)
    ),
    "one class weight": lambda: mg.SoftmaxCrossEntropy(class_weight=[1.0]).forward(
        np.ones((3, 2)), np.ones(3, int)
    ),
    "one feature": lambda: mg.Dense(2, 2, rng=0)(np.ones((3, 1))),
    "three axes": lambda: mg.Dense(2, 2, rng=0)(np.ones((3, 1, 2))),
    "a row as value": lambda: setattr(mg.Parameter(np.ones((3, 2))), "value", np.ones(2)),
    "a number as value": lambda: setattr(mg.Parameter(np.ones((3, 2))), "value", 1.0),
    "(n,) as gradient of (n, 1)": lambda: setattr(
        mg.Parameter(np.ones((3, 1))), "grad", np.ones(3)
    ),
    "a number as all gradients": lambda: setattr(
        mg.ParameterVector.of(mg.Dense(2, 2, rng=0)), "grads", 1.0
    ),
    "a row to compare": lambda: mg.compare(np.ones((3, 2)), np.ones(2)),
}


@pytest.mark.parametrize("act", BROADCASTS.values(), ids=BROADCASTS.keys())
def test_6_shapes_that_would_broadcast_are_errors(act: Callable[[], object]) -> None:
    """NumPy would stretch each of these silently."""
    with pytest.raises(ShapeError):
        act()


@pytest.mark.parametrize("shape", [(1, 2), (2,), (3, 1), ()])
def test_6_gradients_that_would_broadcast_are_errors(shape: tuple[int, ...]) -> None:
    """Neither `Dense`, nor `Activation`, nor `Sequential` stretches the gradient that it is
    given.
    """
    for layer in (
        mg.Dense(2, 2, rng=0),
        mg.Activation("tanh"),
        mg.Sequential(mg.Dense(2, 2, rng=0)),
    ):
        layer(np.ones((3, 2)))
        with pytest.raises(ShapeError, match=r"expected \(3, 2\)"):
            layer.backward(np.ones(shape))
        layer.backward(np.ones((3, 2)))  # the pass is not used up by the error


def test_6_float_labels_are_no_labels() -> None:
    """Labels that were read as floats are an error, not truncated."""
    with pytest.raises(LabelError, match="astype"):
        mg.SoftmaxCrossEntropy().forward(np.ones((3, 2)), np.ones(3))


# -- 7: no global randomness ---------------------------------------------------------------------


def test_7_the_global_random_state_is_neither_used_nor_changed() -> None:
    """A whole training leaves NumPy's global random state alone, and does not depend on it."""
    ends = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        before = pickle.dumps(np.random.get_state())  # noqa: NPY002
        model = build(np.float32)
        train(model, mg.SGD(model, lr=0.1), 3)
        model.predict(data_of(np.float32)[0])
        mg.testing.check_gradients(mg.Dense(2, 2, rng=0), np.ones((2, 2)))
        mg.Dense(2, 2)
        assert before == pickle.dumps(np.random.get_state())  # noqa: NPY002
        ends.append(bits(model))
    assert ends[0] == ends[1]


def test_7_rng_is_a_seed_or_a_generator() -> None:
    """A seed and the generator made from it draw the same; two layers without `rng` do not."""
    by_seed = mg.Dense(5, 4, rng=3).weight.value
    assert by_seed.tobytes() == mg.Dense(5, 4, rng=np.random.default_rng(3)).weight.value.tobytes()
    assert mg.Dense(5, 4).weight.value.tobytes() != mg.Dense(5, 4).weight.value.tobytes()


def test_7_one_generator_passed_on_goes_on() -> None:
    """Two layers that share a generator get different weights."""
    rng = np.random.default_rng(3)
    assert (
        mg.Dense(5, 4, rng=rng).weight.value.tobytes()
        != mg.Dense(5, 4, rng=rng).weight.value.tobytes()
    )


# -- 8: resume is exact --------------------------------------------------------------------------


@sparse(optimizers, dtypes, pytest.mark.parametrize("stop", [1, 3, 4, 8]))
def test_8_resuming_from_states_gives_the_same_bits(
    make: MakeOptimizer, dtype: FloatType, stop: int
) -> None:
    """Stopping at any step, also in mid-epoch, and going on in new objects is the same as not
    stopping.
    """
    x, y = data_of(dtype)
    model = build(dtype)
    optimizer, data, loss = (
        make(model),
        mg.Batches(x, y, batch_size=16, rng=5),
        mg.SoftmaxCrossEntropy(),
    )
    saved: Any = None
    for step in steps(model, loss, optimizer, data):
        if step == stop:
            saved = pickle.dumps((model.state_dict(), optimizer.state_dict(), data.state_dict()))
        if step == 11:
            break
    states = pickle.loads(saved)
    other = build(dtype, seed=77)
    other_optimizer, other_data = make(other), mg.Batches(x, y, batch_size=16, rng=99)
    other.load_state_dict(states[0])
    other_optimizer.load_state_dict(states[1])
    other_data.load_state_dict(states[2])
    train(other, other_optimizer, 11 - stop, other_data)
    assert bits(model) == bits(other)
    assert 11 == other_optimizer.step_count
    assert data.indices.tolist() == other_data.indices.tolist()


# -- 10: no corner stands for the whole ----------------------------------------------------------


def test_10_nothing_printed_is_a_corner_of_an_array() -> None:
    """Of large arrays minigrad prints counts and ranges.

    NumPy's dots, and the corner values, appear nowhere.
    """
    corner = 0.123456
    model = mg.Sequential(
        mg.Dense(100, 100, rng=0), mg.Activation("relu"), mg.Dense(100, 100, rng=1)
    )
    for _, parameter in model.parameters():
        parameter.value.ravel()[:3] = parameter.value.ravel()[-3:] = corner
    optimizer = mg.SGD(model, lr=0.1, weight_decay={"*weight": 0.1})
    vector, data = (
        mg.ParameterVector.of(model),
        mg.Batches(np.full((2000, 3), corner), np.zeros(2000, int), 10),
    )
    weight = dict(model.parameters())["0.weight"]
    things: list[object] = [
        model,
        model[0],
        weight,
        vector,
        optimizer,
        data,
        mg.compare(weight.value, vector.values[:10_000].reshape(100, 100) + 1),
    ]
    loss = mg.SoftmaxCrossEntropy(class_weight=np.full(2000, corner))
    for thing in [*things, loss]:
        for text in (repr(thing), str(thing)):
            assert "..." not in text
            assert "…" not in text
            assert str(corner) not in text
    assert "10,000" in repr(weight) or "(100, 100)" in repr(weight)
    assert " to " in repr(weight)


# -- 11: a gradient is used once -----------------------------------------------------------------


@optimizers
def test_11_a_step_needs_a_new_gradient(make: MakeOptimizer) -> None:
    """A step before the first backward, and a second one after it, raise and change nothing."""
    model = build(np.float32)
    optimizer = make(model)
    initial = bits(model)
    with pytest.raises(MissingGradientError, match="backward"):
        optimizer.step()
    assert initial == bits(model)
    train(model, optimizer, 1)
    after, state = bits(model), pickle.dumps(optimizer.state_dict())
    with pytest.raises(MissingGradientError):
        optimizer.step()
    assert after == bits(model)
    assert 1 == optimizer.step_count
    assert state == pickle.dumps(optimizer.state_dict())


@optimizers
def test_11_a_part_without_gradient_gets_no_update(make: MakeOptimizer) -> None:
    """A branch that backward does not reach stays, with its moments, and the event says why."""

    class Skipped(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            told.append(dict(event.skipped))

    told: list[dict[str, str]] = []
    sometimes = Sometimes(6, np.float32)
    model = mg.Sequential(sometimes, mg.Dense(6, 3, rng=1))
    optimizer = make_without_patterns(make, model)
    optimizer.attach(Skipped())
    train(model, optimizer, 2)
    sometimes.use_left = False
    before, states = bits(model), optimizer.state_dict()["state"]
    train(model, optimizer, 3)
    assert before["0.left"] == bits(model)["0.left"]
    for name, arrays in optimizer.state_dict()["state"].items():
        assert states[name]["0.left"].tobytes() == arrays["0.left"].tobytes()
    assert [{"0.right": "no gradient"}] * 2 + [{"0.left": "no gradient"}] * 3 == told


def test_11_assigning_a_gradient_counts_as_a_new_one() -> None:
    """`parameter.grad = ...` and `vector.grads = ...` are new gradients; forward alone is none."""
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    optimizer, weight = mg.SGD(model, lr=0.5), dict(model.parameters())["0.weight"]
    model(np.ones((1, 2)))
    with pytest.raises(MissingGradientError):
        optimizer.step()
    before = model.state_dict()
    weight.grad = np.ones((2, 2))
    optimizer.step()
    assert np.array_equal(before["0.weight"] - np.float32(0.5), weight.value)
    assert np.array_equal(before["0.bias"], dict(model.parameters())["0.bias"].value)
    mg.ParameterVector.of(model).grads = np.ones(6)
    optimizer.step()
    assert np.array_equal(
        before["0.bias"] - np.float32(0.5), dict(model.parameters())["0.bias"].value
    )


def test_11_micro_batches_accumulate_in_one_visible_line() -> None:
    """Adding a second micro-batch's gradients by hand gives the gradient of both."""
    model, x = build(np.float64), data_of(np.float64)[0]
    vector = mg.ParameterVector.of(model)
    model.backward(model(x))
    expected = vector.grads.copy()
    model.backward(model(x[:25]))
    first = vector.grads.copy()
    model.backward(model(x[25:]))
    vector.grads += first
    np.testing.assert_allclose(vector.grads, expected, rtol=1e-9, atol=1e-12)
    mg.SGD(model, lr=0.1).step()


def test_11_two_backwards_before_a_step_keep_the_last() -> None:
    """`backward` assigns, it never accumulates."""
    model, x = build(np.float64), data_of(np.float64)[0]
    vector = mg.ParameterVector.of(model)
    model.backward(model(x[:7]))
    expected = vector.grads.tobytes()
    model.backward(model(x))
    model.backward(model(x[:7]))
    assert expected == vector.grads.tobytes()


def test_11_after_a_backward_that_failed_no_half_gradient_is_used() -> None:
    """When a layer of one's own fails in backward, the layers above it do not make a step by
    themselves.
    """

    class Failing(mg.Layer):
        def forward(self, x: Array) -> Array:
            return x.copy()

        def backward(self, grad: Array) -> Array:
            raise ZeroDivisionError

    model = mg.Sequential(mg.Dense(2, 2, rng=0), Failing(), mg.Dense(2, 2, rng=1))
    optimizer, before = mg.SGD(model, lr=0.1), bits(model)
    with pytest.raises(ZeroDivisionError):
        model.backward(model(np.ones((1, 2))))
    with pytest.raises(MissingGradientError):
        optimizer.step()
    assert before == bits(model)
    model[2].weight = mg.Parameter(np.ones((2, 2), np.float32))  # nor for one that was put in since
    with pytest.raises(ZeroDivisionError):
        model.backward(model(np.ones((1, 2))))
    with pytest.raises(MissingGradientError):
        mg.SGD(model, lr=0.1).step()
