"""What people give as data that is no array of numbers: each is told what came and what to pass,
and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import minigrad as mg
from minigrad._messages import described
from minigrad._validation import float_array
from minigrad.activations import ActivationName
from minigrad.errors import KindError, ModelError, RangeError, ShapeError

X = np.arange(12.0).reshape(4, 3)


class Tensor:
    """As a tensor of PyTorch that requires its gradient."""

    shape = (4, 3)

    def detach(self) -> Tensor:
        return self

    def __array__(self, *_: object, **__: object) -> npt.NDArray[Any]:
        raise RuntimeError(
            "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
        )


class Sparse:
    """As a matrix of SciPy's: NumPy makes one object of it."""

    shape, nnz = (4, 3), 2

    def toarray(self) -> npt.NDArray[Any]:
        return X


class Table:
    """As a data frame of pandas."""

    def __init__(self, **columns: object) -> None:
        self._columns = {name: np.asarray(column) for name, column in columns.items()}

    @property
    def columns(self) -> list[str]:
        return list(self._columns)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        return self._columns[name]

    def __array__(self, *_: object, **__: object) -> npt.NDArray[Any]:
        return np.stack([column.astype(object) for column in self._columns.values()], axis=1)


AGES = [20.0, 30.0, 40.0, 50.0]
MASKED = np.ma.masked_equal([[1.0, -999.0, 3.0], [2.0, 3.0, 3.0]], -999.0)
NO_DATA: dict[str, tuple[Callable[[], object], list[str]]] = {
    "nothing": (lambda: None, ["None, expected real numbers"]),
    "a masked array": (lambda: MASKED, ["1 of 6 entries masked", "x.filled(number)", "x.data"]),
    "masked rows": (
        lambda: [*MASKED],
        ["a list with", "1 of 6 entries masked", "x.filled(number)"],
    ),
    "a masked number": (lambda: [[1.0, np.ma.masked, 3.0]], ["masked", "x.filled(number)"]),
    "a sparse matrix": (Sparse, ["a sparse matrix of shape (4, 3)", "x.toarray()"]),
    "a generator": (lambda: (row for row in X), ["a generator", "list(x)"]),
    "an iterator": (lambda: map(list, X), ["a map", "list(x)"]),
    "the values of a dict": (lambda: {"a": X}.values(), ["a dict_values", "list(x)"]),
    "a dict": (
        lambda: {"a": X[:, 0], "b": X[:, 1]},
        ["a dict of 2", "np.column_stack(list(x.values()))"],
    ),
    "a set": (lambda: {1.0, 2.0}, ["a set", "no order", "sorted(x)"]),
    "a tensor with a gradient": (Tensor, ["a Tensor", "requires grad", "x.detach().cpu().numpy()"]),
    "tensors with gradients": (
        lambda: [Tensor()],
        ["a list", "requires grad", "item.detach().cpu().numpy()"],
    ),
    "a parameter": (lambda: mg.Parameter(X), ["a Parameter", "pass its .value"]),
    "a layer": (lambda: mg.Dense(3, 2, rng=0), ["a Dense", ".weight.value"]),
    "a model": (lambda: mg.Sequential(mg.Dense(3, 2, rng=0)), ["a Sequential", ".weight.value"]),
    "a class": (lambda: mg.Dense, ["the class Dense", "expected real numbers"]),
    "a function": (
        lambda: np.linalg.norm,
        ["the function norm", "expected an array of real numbers"],
    ),
    "a path": (lambda: "x.npy", ["text, 'x.npy'", "expected an array of real numbers"]),
    "two inputs": (
        lambda: (X, X[:, :2]),
        ["a tuple of 2 arrays of shapes (4, 3) and (4, 2)", "np.column_stack(x)"],
    ),
    "ragged rows": (
        lambda: [[1, 2], [3, 4], [5]],
        ["ragged", "row 0 has 2, row 2 has 1", "equal length"],
    ),
    "a table with booleans": (
        lambda: Table(age=AGES, smokes=[True, False] * 2),
        ["a Table", "'smokes' is of booleans", "x.astype(float)"],
    ),
    "a table with text": (
        lambda: Table(age=AGES, city=["Bonn", "Ulm"] * 2, smokes=[True, False] * 2),
        ["'city' has 'Bonn' in row 0", "'smokes' is of booleans", "np.unique("],
    ),
    "a table with a '?'": (
        lambda: Table(age=np.array([20, 30, "?", 50], object), weight=AGES),
        ["'age' has '?' in row 2", "fill"],
    ),
    "objects with a '?'": (
        lambda: np.array([[1, 2, 3], [4, "?", 6]], object),
        ["the first that is no number is '?' in row 1, column 1", "missing value"],
    ),
    "text of numbers with a '?'": (
        lambda: [["1", "2"], ["3", "?"]],
        ["the first that is no number is '?' in row 1, column 1", "missing value"],
    ),
    "objects with None": (
        lambda: np.array([[1, 2, None], [4, 5, 6]], object),
        ["the first that is no number is None in row 0, column 2"],
    ),
    "objects that are numbers": (lambda: np.array([[1, 2.5, True]], object), ["astype(float)"]),
    "text of numbers": (lambda: [["1", "2.5"]], ["astype(float)"]),
    "rows of objects": (
        lambda: np.array([np.ones(2), np.ones(3)], object),
        ["the first that is no number is an array of shape (2,) in row 0", "rows of equal length"],
    ),
    "records": (lambda: np.zeros(3, [("a", "f4"), ("b", "f4")]), ["structured", "np.column_stack"]),
}
no_data = pytest.mark.parametrize(("make", "contents"), NO_DATA.values(), ids=NO_DATA.keys())


@no_data
def test_no_data(make: Callable[[], Any], contents: list[str]) -> None:
    """Every door says what came and what to pass: that of the data, of a model, of a parameter, of
    a loss and of compare.
    """
    model = mg.Sequential(mg.Dense(3, 2, rng=0))
    doors: dict[str, Callable[[Any], object]] = {
        "x of Batches": lambda x: mg.Batches(x, np.zeros(4), 2),
        "y of Batches": lambda x: mg.Batches(np.zeros((4, 1)), x, 2),
        "the input of the model": model,
        "the input of Dense(3, 2)": mg.Dense(3, 2, rng=0),
        "the value assigned to parameter '0.weight'": lambda x: setattr(
            model[0].weight, "value", x
        ),
        "the targets": lambda x: mg.SoftmaxCrossEntropy().forward(np.zeros((4, 3)), x),
        "the targets given to Huber": lambda x: mg.Huber().forward(np.zeros((4, 3)), x),
        "the outputs given to Huber": lambda x: mg.Huber().forward(x, np.zeros((4, 3))),
        "before": lambda x: mg.compare(x, X),
    }
    before = model[0].weight.value.tobytes()
    for name, door in doors.items():
        with pytest.raises(KindError) as caught:
            door(make())
        message = str(caught.value)
        assert message.startswith(name)
        assert [] == [content for content in contents if content not in message], message
        assert "\n" not in message
    assert before == model[0].weight.value.tobytes()


def test_a_mask_that_hides_nothing_loses_nothing() -> None:
    """Such an array is its data."""
    model = mg.Sequential(mg.Dense(3, 2, rng=0))
    assert model.predict(X).tobytes() == model.predict(np.ma.masked_equal(X, -999.0)).tobytes()


def test_several_inputs_of_one_shape_are_no_samples() -> None:
    """NumPy stacks them, and what they look like is two samples: the error says how to put them
    side by side.
    """
    with pytest.raises(
        ShapeError,
        match=r"2 samples in x but 4 targets in y; for 2 inputs .* np\.column_stack\(x\)",
    ):
        mg.Batches((X, X), np.zeros(4), 2)
    with pytest.raises(ShapeError, match=r"2 samples in x but 4 targets in y$"):
        mg.Batches([[1.0], [2.0]], np.zeros(4), 2)


# -- numbers that the dtype cannot hold ----------------------------------------------------------


@pytest.mark.parametrize("kind", ["i4", "u4", "i8", "u8", ">i8"])
def test_integers_with_too_many_digits(kind: str) -> None:
    """2^24 + 1 is no float32: the first such entry is named, with what would become of it, and how
    many there are.
    """
    x = np.array([[2**24, 5], [2**24 + 1, 2**25 + 4], [2**25 + 2, 0]], kind)
    model = mg.Sequential(mg.Dense(2, 1, rng=0))
    for door in (model, model.predict, mg.Activation("linear"), mg.Parameter):
        with pytest.raises(RangeError) as caught:
            door(x)
        message = str(caught.value)
        assert (
            "the integer 16777217 in row 1, column 0, of which float32 would make 16777216"
            in message
        )
        assert "(2 of 6 entries would be rounded)" in message
        assert "x.astype(np.float32) if that is meant" in message
        assert "dtype=np.float64" in message
    wide = mg.Sequential(mg.Dense(2, 1, init="ones", dtype=np.float64))
    assert [[2**24 + 5], [2**24 + 1 + 2**25 + 4], [2**25 + 2]] == wide(x).tolist()
    assert model(x.astype(np.float32)).tobytes() == model(x.astype(np.float64)).tobytes()


@pytest.mark.parametrize(("dtype", "digits"), [(np.float32, 24), (np.float64, 53)])
def test_which_integers_have_too_many_digits(dtype: Any, digits: int) -> None:
    """Exactly those that Python's own conversion does not give back, of either sign, up to the ends
    of 64 bits.
    """
    near = [
        2**power + offset
        for power in range(digits - 2, 63)
        for offset in (-3, -2, -1, 0, 1, 2, 3, 4, 6, 8)
    ]
    numbers = [*near, 2**63 - 1, 2**62 + 2**40, 2**62 + 2**9]
    for kind, found in (
        (np.int64, [*numbers, *(-number for number in numbers), -(2**63)]),
        (np.uint64, [2**64 - 1, 2**63]),
    ):
        for number in found:
            exact = int(dtype(number)) == number
            try:
                converted = float_array(np.array([number], kind), np.dtype(dtype), "it")
                assert exact
                assert number == int(converted[0])
            except RangeError:
                assert not exact


def test_floats_beyond_the_range() -> None:
    """A float64 that would become infinite in float32 is named.

    Infinity itself is let in, and NaN.
    """
    model = mg.Sequential(mg.Dense(2, 1, init="ones"))
    with pytest.raises(RangeError) as caught:
        model(np.array([[1.0, 2.0], [-1e39, 1e300]]))
    assert (
        "the input of the model holds -1e+39 in row 1, column 0, which is beyond the range of "
        "float32, 3.4e+38 (2 of 4 entries are): scale the data, or build the model with "
        "dtype=np.float64"
    ) == str(caught.value)
    assert np.isinf(model(np.array([[np.inf, 2.0]]))).all()
    assert np.isnan(model(np.array([[np.nan, 2.0]]))).all()
    largest = float(np.finfo(np.float32).max)
    assert [[largest]] == model(np.array([[largest, 0.0]])).tolist()
    assert [[1e300]] == mg.Sequential(mg.Dense(1, 1, init="ones", dtype=np.float64))(
        np.array([[1e300]])
    ).tolist()


def test_fit_says_what_is_beyond_the_range() -> None:
    """Before the first step, and the weights are as they were."""
    model = mg.Sequential(mg.Dense(3, 2, rng=0))
    before = model[0].weight.value.tobytes()
    with pytest.raises(
        RangeError, match=r"data: the input of the model holds 1e\+300 in row 0, column 1"
    ):
        mg.fit(
            model,
            mg.MeanSquaredError(),
            mg.SGD(model, 0.1),
            mg.Batches(X * 1e300, X[:, :2], 4),
            epochs=1,
        )
    assert before == model[0].weight.value.tobytes()


# -- the axis of classes -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_a_softmax_over_the_samples(name: ActivationName) -> None:
    """An input of shape (batch,) has no classes: the softmax would go over the samples."""
    layer = mg.Activation(name)
    expected = layer(np.ones((2, 3)))
    with pytest.raises(
        ShapeError,
        match=rf"Activation\('{name}'\) got an input of shape \(3,\), expected \(batch, classes\)",
    ):
        layer(np.ones(3))
    assert (2, 3) == layer.backward(expected).shape  # the pending backward is still there
    mg.Activation("tanh")(np.ones(3))


# -- nothing to do -------------------------------------------------------------------------------


def test_load_of_nothing(tmp_path: Any) -> None:
    """`load` returns nothing, so without something to fill it is a mistake.

    The error says what to pass.
    """
    model = mg.Sequential(mg.Dense(2, 1, rng=0))
    path = tmp_path / "a.npz"
    mg.save(path, model=model)
    with pytest.raises(KindError, match=r"nothing to load into: .*load\(path, model=model\)"):
        mg.load(path)
    mg.load(path, model=model)


def test_fit_with_everything_frozen() -> None:
    """It is an error before the first step; with a part frozen, or no epoch left, it is none."""
    model = mg.Sequential(mg.Dense(3, 2, rng=0), mg.Dense(2, 2, rng=1)).freeze()
    optimizer, data = mg.SGD(model, 0.1), mg.Batches(X, X[:, :2], 4, rng=0)
    with pytest.raises(
        ModelError,
        match=r"fit has nothing to train: all parameters of SGD\(.*\) are frozen; unfreeze\(\)",
    ):
        mg.fit(model, mg.MeanSquaredError(), optimizer, data, epochs=1)
    assert (0, False) == (optimizer.step_count, data.has_given)
    mg.fit(model, mg.MeanSquaredError(), optimizer, data, epochs=0)
    model[1].unfreeze()
    mg.fit(model, mg.MeanSquaredError(), optimizer, data, epochs=1)


# -- weights of others ---------------------------------------------------------------------------


def test_transposed_weights() -> None:
    """Of weights of PyTorch's layout the error names all: those whose shape tells, and the square
    ones, which would load.
    """
    model = mg.Sequential(
        mg.Dense(3, 2, rng=0),
        mg.Dense(2, 2, rng=1),
        mg.Dense(2, 2, bias=False, rng=2),
        mg.Dense(2, 5, rng=3),
    )
    state: dict[str, Any] = {name: array.T for name, array in model.state_dict().items()}
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        model.load_state_dict(state)
    assert str(caught.value).endswith(
        "'0.weight', '3.weight' have the transposed shape: transpose them, .T, as weights of "
        "PyTorch need, and with them the square '1.weight', '2.weight'"
    )
    assert "'0.weight' has shape (2, 3), expected (3, 2)" in str(caught.value)
    assert before == {name: array.tobytes() for name, array in model.state_dict().items()}
    model.load_state_dict({name: array.T for name, array in state.items()})
    with pytest.raises(
        ModelError,
        match=r"'0.weight' has the transposed shape: transpose it, .T, as weights of PyTorch need$",
    ):
        mg.Sequential(mg.Dense(3, 2, rng=0)).load_state_dict(
            {"0.weight": np.ones((2, 3)), "0.bias": np.ones(2)}
        )
    with pytest.raises(ModelError, match=r"'0.weight' has shape \(4, 3\), expected \(3, 2\)$"):
        model.load_state_dict({**model.state_dict(), "0.weight": np.ones((4, 3))})


@pytest.mark.parametrize("state", [None, [("0.weight", 1)], np.ones(3), "weights.npz"])
def test_a_state_that_is_none(state: Any) -> None:
    """It is told as it is given, and what is expected."""
    with pytest.raises(KindError, match=r"load_state_dict got .*, expected arrays by name"):
        mg.Dense(1, 1, rng=0).load_state_dict(state)


# -- a loss of one's own -------------------------------------------------------------------------


def returning(value: object) -> mg.Loss:
    class Returning(mg.Loss):
        def forward(self, logits: Any, targets: Any) -> Any:
            return value

        def backward(self) -> Any:
            return np.ones((1, 1))

    return Returning()


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "Returning returned None, expected one number"),
        (
            np.ones(1),
            r"Returning returned an array of shape (1,), expected one number, return float(...)",
        ),
        (np.ones((5, 1)), "Returning returned an array of shape (5, 1), expected one number"),
        ([1.0], "Returning returned [1.0], expected one number, return float(...)"),
        ("1", "Returning returned '1', expected one number, return float(...)"),
        (1j, "Returning returned 1j, expected one number, return float(...)"),
    ],
    ids=str,
)
def test_a_loss_that_returns_no_number(value: object, told: str) -> None:
    """It is said where it happens, with the name of the loss.

    The value stays that of the last forward.
    """
    loss = returning(value)
    with pytest.raises(KindError) as caught:
        loss.forward(np.ones((1, 1)), [1])
    assert told == str(caught.value)
    assert np.isnan(loss.value)


@pytest.mark.parametrize(
    "value", [2, np.float32(2), np.float64(2), np.int8(2), np.array(2.0), np.array(2, np.float32)]
)
def test_a_loss_that_returns_another_kind_of_number(value: object) -> None:
    """Numbers of NumPy's and arrays without axes are numbers; what comes out is Python's."""
    loss = returning(value)
    found = loss.forward(np.ones((1, 1)), [1])
    assert (2.0, float, 2.0) == (found, type(found), loss.value)


def test_the_forward_of_a_base_may_return_anything() -> None:
    """A loss whose subclass makes one number of its rows is sound."""

    class Rows(mg.Loss):
        def forward(self, logits: Any, targets: Any) -> Any:
            return np.asarray(logits).sum(axis=1)

        def backward(self) -> Any:
            return np.ones((2, 2))

    class Most(Rows):
        def forward(self, logits: Any, targets: Any) -> float:
            return float(super().forward(logits, targets).max())

    loss = Most()
    assert 7.0 == loss.forward(np.array([[1.0, 2.0], [3.0, 4.0]]), [0, 0])
    assert 7.0 == loss.value


# -- anything, in a few words --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (np.ones((2, 3)), "an array of shape (2, 3)"),
        (np.array(2.5), "an array of shape () that holds 2.5"),
        (np.float32(0.5), "0.5"),
        (MASKED, "a masked array of shape (2, 3)"),
        ((np.ones(3), 2), "a tuple of 2"),
        ({"a": np.ones(3)}, "a dict of 1"),
        (list(range(1000)), "a list of 1,000"),
        ([1, 2], "[1, 2]"),
        ("short", "'short'"),
        ("x" * 1000, "text of 1,000 characters, 'xxxxxxxxxxxxxxxxxxxx' and so on"),
        (len, "the function len"),
        (mg.Dense, "the class Dense"),
        (Tensor(), "a Tensor of shape (4, 3)"),
        (object(), "an object"),
        (mg.Parameter(np.ones(3)), "a Parameter of shape (3,)"),
        (mg.Dense(3, 2, rng=0), "Dense(3, 2)"),
        (mg.Sequential(*(mg.Dense(3, 3, rng=0) for _ in range(9))), "a Sequential"),
        (None, "None"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_described(thing: object, told: str) -> None:
    """Short things as they are, all others by their kind and size."""
    assert told == described(thing)
