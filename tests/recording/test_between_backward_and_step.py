"""The record is true, whatever stands between backward and step: against a recount in plain NumPy
that shares no code.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import GradientOverwritten, OutOfBandWrite
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


def saliency_after(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    made = truth.made_of(x, grad)
    forward_and_back(model, x, grad)
    forward_and_back(model, np.ones((2, 5)), np.ones((2, 3)), parameters=False)
    truth.step(optimizer, [made])


def extra_before(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    """A saliency map in the old way, or the generator's backward through D: its gradients are
    overwritten.
    """
    made = truth.made_of(x, grad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GradientOverwritten)
        forward_and_back(model, np.ones((2, 5)), np.ones((2, 3)))
        forward_and_back(model, x, grad)
    truth.step(optimizer, [made])


def extra_after_the_step(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    plain(model, optimizer, truth, x, grad)
    forward_and_back(model, np.ones((2, 5)), np.ones((2, 3)))
    mg.ParameterVector.of(model).gradients.forget()


def accumulated(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    parts = [(x[:1], grad[:1]), (x[1:2], grad[1:2]), (x[2:], grad[2:])]
    made = [truth.made_of(*part) for part in parts]
    for part in parts:
        forward_and_back(model, *part, accumulate=True)
    truth.step(optimizer, made)


def refilled(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    """The buffers of the batch are filled with the next one before the step."""
    made = truth.made_of(x, grad)
    forward_and_back(model, x, grad)
    x[...], grad[...] = 7, 7
    truth.step(optimizer, [made])


def evaluated(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    """Forwards of other data between backward and step, with and without `predict`."""
    made = truth.made_of(x, grad)
    forward_and_back(model, x, grad)
    model(np.ones((3, 5)))
    model.predict(np.ones((3, 5)))
    truth.step(optimizer, [made])
    model.eval()
    model(np.ones((3, 5)))
    model.train()


def part_only(
    model: mg.Sequential, optimizer: mg.Optimizer, truth: Truth, x: Array, grad: Array
) -> None:
    """The head alone has a backward; the rest gets no gradient in this step."""
    made = truth.made_of(x, grad)
    hidden = np.maximum(x @ model[0].weight.value + model[0].bias.value, 0)
    head = model[2:]
    head(hidden)
    head.backward(grad)
    truth.step(optimizer, [made], reached=("2.weight", "2.bias"))


SCENARIOS: dict[str, Act] = {
    "plain": plain, "saliency after backward": saliency_after, "overwritten": extra_before,
    "a backward after the step": extra_after_the_step, "accumulated": accumulated, "refilled in place": refilled,  # noqa: E501
    "evaluated between": evaluated, "a part alone": part_only,
}  # fmt: skip


@sparse(
    pytest.mark.parametrize("name", SCENARIOS),
    pytest.mark.parametrize("momentum", [0.0, 0.9]),
    every=2,
)
def test_the_record_is_what_happened(name: str, momentum: float) -> None:
    """In every step, and in every other one between plain ones, reasons, samples and values are
    those of the recount.
    """
    for every in (1, 2):
        model = network()
        optimizer, truth = mg.SGD(model, 0.1, momentum=momentum), Truth(model)
        with mg.Recorder(optimizer, coactivation=True) as recorder:
            for number, (x, grad) in enumerate(batches()):
                (SCENARIOS[name] if number % every == 0 else plain)(
                    model, optimizer, truth, x, grad
                )
        truth.check(recorder.run, notes=name == "overwritten")
        if every == 2:
            assert {Reason.INPUT_ZERO, Reason.UNIT_SILENT, Reason.MOVED} == set(
                truth.reasons("0.weight").ravel()
            )
            assert {Reason.CANCELLED, Reason.UNIT_SILENT} <= set(truth.reasons("2.weight").ravel())


def test_a_recount_would_see_a_wrong_record() -> None:
    """The recount differs where something else than what it was told happened, so it can fail."""
    model = network()
    optimizer, truth = mg.SGD(model, 0.1), Truth(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            made = truth.made_of(np.ones_like(x), grad)
            forward_and_back(model, x, grad)
            truth.step(optimizer, [made])
    with pytest.raises(AssertionError):
        truth.check(recorder.run)


# -- gradients that are changed ------------------------------------------------------------------


def masked(weight: mg.Parameter) -> None:
    weight.grad[1] = 0


def edited(weight: mg.Parameter) -> None:
    weight.grad[...] = np.clip(weight.grad, -0.1, 0.1)


def clipped(weight: mg.Parameter) -> None:
    np.clip(weight.grad, -0.1, 0.1, out=weight.grad)


def by_mask(weight: mg.Parameter) -> None:
    weight.grad[np.arange(5) == 1] = 0


def assigned(weight: mg.Parameter) -> None:
    weight.grad = weight.grad * (np.arange(5) != 1)[:, np.newaxis]


def summed(weight: mg.Parameter) -> None:
    """As a sum over processes does, in place, where the other's samples cancel out."""
    vector = mg.ParameterVector.of(OWNER[0])
    vector.grads[...] = vector.grads + 0


def summed_by_assignment(weight: mg.Parameter) -> None:
    vector = mg.ParameterVector.of(OWNER[0])
    vector.grads = vector.grads + 0


OWNER: list[mg.Sequential] = []


@sparse(
    pytest.mark.parametrize(
        "edit", [masked, edited, clipped, by_mask, assigned, summed, summed_by_assignment]
    ),
    pytest.mark.parametrize("steps", [(0, 1, 2, 3, 4), (3,)]),
    every=2,
)
def test_a_changed_gradient(edit: Callable[[mg.Parameter], None], steps: tuple[int, ...]) -> None:
    """Changed in all steps or in one: the entries that it left at 0 have a gradient of 0, which is
    all that is known.
    """
    model = network()
    OWNER[:] = [model]
    optimizer, truth = mg.SGD(model, 0.1), Truth(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for number, (x, grad) in enumerate(batches()):
            made = truth.made_of(x, grad)
            forward_and_back(model, x, grad)
            if number in steps:
                edit(model[0].weight)
            touched = (
                list(truth.initial) if edit in (summed, summed_by_assignment) else ["0.weight"]
            )
            truth.step(optimizer, [made], edited=touched if number in steps else ())
    truth.check(recorder.run)
    assert Reason.GRADIENT_ZERO in recorder.run["0.weight"].why.counts
    assert "changed after backward" in recorder.run.report()


def test_transforms_that_change_zeros() -> None:
    """Noise gives entries a gradient whose samples had none: these moved, and nobody says that
    their input was 0.
    """
    model = network()
    optimizer = mg.SGD(model, 0.1, grad_transforms=[mg.GradientNoise(0.1, rng=0)])
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            forward_and_back(model, x, grad)
            optimizer.step()
    assert all(
        {Reason.MOVED: recorder.run[name].size} == recorder.run[name].why.counts
        for name in recorder.run
    )
    assert "was always 0" not in recorder.run["0.weight"].why.at(2, 0)


@pytest.mark.parametrize("transform", [mg.ClipValue(0.1), mg.ClipNorm(0.1)])
def test_transforms_that_keep_zeros(transform: Any) -> None:
    """Clipping changes no reason."""
    model = network()
    optimizer, truth = mg.SGD(model, 0.1, grad_transforms=[transform]), Truth(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            plain(model, optimizer, truth, x, grad)
    truth.check(recorder.run)


def test_a_mask_holds_entries() -> None:
    """An entry that a mask holds had gradients and updates of 0, and the sentence names the
    mask.
    """
    model = network()
    moving = np.ones((5, 4), bool)
    moving[0] = False
    optimizer = mg.SGD(model, 0.1, update_transforms=[mg.Mask({"0.weight": moving})])
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            forward_and_back(model, x, grad)
            optimizer.step()
    why = recorder.run["0.weight"].why
    assert [
        Reason.UPDATE_ZERO,
        Reason.UNIT_SILENT,
        Reason.UPDATE_ZERO,
        Reason.UPDATE_ZERO,
    ] == why.reasons[0].tolist()
    assert [Reason.INPUT_ZERO] * 4 == why.reasons[2].tolist()
    assert "Mask" in why.at(0, 0)


# -- values that others write --------------------------------------------------------------------


class Writes(mg.Hook):
    """A constraint as others have it: clips the weights after each step."""

    def __init__(self, model: mg.Sequential) -> None:
        self.model = model

    def on_step(self, event: mg.Step) -> None:
        self.model[0].weight.value = np.clip(self.model[0].weight.value, -0.3, 0.3)


class Regrads(mg.Hook):
    def __init__(self, model: mg.Sequential) -> None:
        self.model = model

    def on_step(self, event: mg.Step) -> None:
        self.model[0].weight.grad = np.full((5, 4), 9.0)


class Notes(mg.Hook):
    """The updates, and the values right after the addition, by this test's own sum."""

    def __init__(self, model: mg.Sequential) -> None:
        self.model = model
        self.updates: list[dict[str, Array]] = []
        self.befores: list[dict[str, Array]] = []

    def before_step(self, event: mg.Step) -> None:
        self.befores.append(
            {name: parameter.value.copy() for name, parameter in self.model.parameters()}
        )
        self.updates.append(dict(event.updates))


@pytest.mark.parametrize("order", ["writer first", "recorder first"])
@pytest.mark.parametrize("keep", [("update",), ()])
def test_a_hook_that_writes_values(order: str, keep: tuple[str, ...]) -> None:
    """In whatever order hooks are attached: the write is none of the step's, it is warned of and
    noted, and replay is true.
    """
    model = network()
    optimizer, notes = mg.SGD(model, 0.5), Notes(model)
    optimizer.attach(notes)
    recorder = mg.Recorder(optimizer, keep=keep)
    if order == "writer first":
        optimizer.attach(Writes(model))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with recorder:
            if order == "recorder first":
                optimizer.attach(Writes(model))
            for x, grad in batches():
                forward_and_back(model, x, grad)
                optimizer.step()
    assert {OutOfBandWrite} == {one.category for one in told}
    run = recorder.run
    assert any("0.weight changed other than by an optimizer" in note for note in run.notes)
    assert not any("2.weight" in note for note in run.notes)
    if keep:
        assert run.verify().mismatch is None
        for step in run.exact_steps:
            for name in run:
                expected = notes.befores[step][name] + notes.updates[step][name]
                assert expected.tobytes() == run[name].value(step).tobytes(), (step, name)
                assert (
                    notes.updates[step][name].tobytes()
                    == np.asarray(run[name].updates[step]).tobytes()
                )


@pytest.mark.parametrize("order", ["writer first", "recorder first"])
def test_a_hook_that_writes_gradients_after_a_step(order: str) -> None:
    """What `on_step` assigns belongs to no step, and changes neither reasons nor kept gradients."""
    model = network()
    optimizer, truth = mg.SGD(model, 0.1), Truth(model)
    recorder = mg.Recorder(optimizer, coactivation=True, keep=("update", "grad"))
    if order == "writer first":
        optimizer.attach(Regrads(model))
    with recorder:
        if order == "recorder first":
            optimizer.attach(Regrads(model))
        for x, grad in batches():
            plain(model, optimizer, truth, x, grad)
    truth.check(recorder.run)
    assert not any((np.asarray(grad) == 9).any() for grad in recorder.run["0.weight"].grads)


# -- losses --------------------------------------------------------------------------------------


def test_the_loss_that_is_recorded() -> None:
    """It is that of the gradient: whatever the same loss object is asked between, and `step(loss=)`
    comes first.
    """
    x = np.random.default_rng(0).normal(size=(8, 5))
    y = x[:, :3] * 2
    model, loss = network(), mg.MeanSquaredError()
    optimizer = mg.SGD(model, 0.01)
    expected = []

    def backward() -> float:
        value = loss.forward(model(x), y)
        model.backward(loss.backward())
        return float(value)

    def validates() -> None:
        loss.forward(model.predict(x[:2]), y[:2])

    def saliency() -> None:
        loss.forward(model(x[:1]), y[:1])
        model.backward(loss.backward(), parameters=False)

    with mg.Recorder(optimizer, loss=loss) as recorder:
        for between in ((), (validates,), (saliency,), (saliency, validates)):
            expected.append(backward())
            for act in between:
                act()
            optimizer.step()
        backward()
        validates()
        optimizer.step(loss=42.0)
        expected.append(42.0)
        validates()
        expected.append(backward())
        optimizer.step()
    assert expected == [float(value) for value in recorder.run.loss]


@pytest.mark.parametrize("aggregates", [True, False])
def test_the_loss_of_one_model_among_two(aggregates: bool) -> None:
    """One loss object for two models: the recorder of one records the loss of that one."""
    x = np.random.default_rng(0).normal(size=(8, 5))
    one, other, loss = network(), network(), mg.MeanSquaredError()
    optimizer = mg.SGD(one, 0.01)
    with mg.Recorder(optimizer, loss=loss, aggregates=aggregates) as recorder:
        value = loss.forward(one(x), x[:, :3])
        one.backward(loss.backward())
        loss.forward(other(x + 1), x[:, :3])
        other.backward(loss.backward())
        optimizer.step()
    assert [value] == [float(found) for found in recorder.run.loss]


# -- recorders that begin late, other optimizers, parts ------------------------------------------


def test_a_recorder_that_starts_between() -> None:
    """A gradient that arrived before nobody has looked at: no statement about inputs and units,
    here and for the run.
    """
    model = network()
    optimizer, truth = mg.SGD(model, 0.1), Truth(model)
    recorder = mg.Recorder(optimizer, coactivation=True)
    for number, (x, grad) in enumerate(batches()):
        made = truth.made_of(x, grad)
        forward_and_back(model, x, grad)
        if number == 0:
            recorder.start()
        truth.step(optimizer, [made], edited=truth.initial)
    recorder.stop()
    truth.check(recorder.run)
    assert "arrived before it was recorded" in recorder.run.report()


@pytest.mark.parametrize("first", ["the other", "this one"])
def test_two_optimizers_over_one_model(first: str) -> None:
    """The other's steps are writes by an optimizer, named, from the first on, and no step of this
    run.
    """
    model = network()
    this, other = mg.SGD(model, 0.1), mg.Adam(model, 0.01)
    mine = []
    with mg.Recorder(this, keyframe_every=2) as recorder:  # warnings are errors here
        for number, (x, grad) in enumerate(batches(6)):
            optimizer = other if (number % 2 == 0) == (first == "the other") else this
            forward_and_back(model, x, grad)
            optimizer.step()
            if optimizer is this:
                mine.append(model[0].weight.value.copy())
    run = recorder.run
    assert 3 == len(run.steps)
    assert run.verify().mismatch is None
    assert [value.tobytes() for value in mine] == [
        run["0.weight"].value(step).tobytes() for step in run.steps
    ]
    assert run.notes
    assert all("by Adam over 0.weight ... 2.bias" in note for note in run.notes)


def test_a_recorder_of_a_part() -> None:
    """An optimizer of the head alone: its run has the model's names, and the backward of the whole
    explains it.
    """
    model = network()
    optimizer, truth = mg.SGD(model[2:], 0.1), Truth(model)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for x, grad in batches():
            made = truth.made_of(x, grad)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", GradientOverwritten)
                forward_and_back(model, x, grad)
            truth.step(optimizer, [made])
    run = recorder.run
    assert ["2.weight", "2.bias"] == list(run)
    for name in run:
        assert truth.reasons(name).tolist() == run[name].why.reasons.tolist()
    assert "2.weight[" in run["2.weight"].why.at(1, 0)


# -- how factors lie -----------------------------------------------------------------------------


class Lying(mg.Layer):
    """A linear layer whose weight lies in some way, and which says how, or leaves it open."""

    def __init__(
        self, n_in: int, n_out: int, turned: bool, layout: Any = None, image: bool = False
    ) -> None:
        value = np.random.default_rng(0).normal(size=(n_in, n_out))
        if image:
            value = value.T.reshape(n_out, n_in // 4, 2, 2)
        self.weight = mg.Parameter(value.T if turned and not image else value)
        self.turned, self.layout = turned, layout

    def table(self, array: Array, n_out: int) -> Array:
        return array.reshape(n_out, -1).T if self.turned else array

    def forward(self, x: Array) -> Array:
        self.x = x
        self.n_out = self.weight.shape[0] if self.turned else self.weight.shape[1]
        found: Array = x @ self.table(self.weight.value, self.n_out)
        return found

    def backward(self, grad: Array) -> Array:
        self.units = grad
        made = self.x.T @ grad
        self.weight.grad = made.T.reshape(self.weight.shape) if self.turned else made
        below: Array = grad @ self.table(self.weight.value, self.n_out).T
        return below

    def explain(self) -> Mapping[str, mg.Factors]:
        return {"weight": mg.Factors(self.x, self.units, self.layout)}


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
    ("n_in", "n_out", "turned", "image"),
    [(5, 3, False, False), (5, 3, True, False), (4, 4, False, False), (4, 4, True, False), (8, 3, True, True), (4, 4, True, True)],  # noqa: E501
)  # fmt: skip
def test_how_a_weight_lies(n_in: int, n_out: int, turned: bool, image: bool, told: bool) -> None:
    """Said or not, also where it is square: the dark input and the silent unit are those of the
    weight.
    """
    layer = Lying(n_in, n_out, turned, ("out_in" if turned else "in_out") if told else None, image)
    model = mg.Sequential(layer)
    optimizer, rng = mg.SGD(model, 0.1), np.random.default_rng(1)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        for _ in range(3):
            x, grad = rng.normal(size=(6, n_in)), rng.normal(size=(6, n_out))
            x[:, 1], grad[:, 2] = 0, 0
            forward_and_back(model, x, grad)
            optimizer.step()
    expected = np.full((n_in, n_out), Reason.MOVED, object)
    expected[:, 2] = Reason.UNIT_SILENT
    expected[1] = Reason.INPUT_ZERO
    laid = expected.T.reshape(layer.weight.shape) if turned else expected
    why = recorder.run["0.weight"].why
    assert laid.tolist() == why.reasons.tolist()
    place = (2, 0) if turned else (0, 2)
    if not image:
        assert "unit 2" in why.at(*place)
        assert "input 1" in why.at(*place[::-1]) or turned or "input 1" in why.at(1, 0)


def test_an_explanation_that_does_not_fit() -> None:
    """Factors of other shapes, or told to lie as they do not, are not read.

    And the report says so.
    """

    class Wrong(Lying):
        def explain(self) -> Mapping[str, mg.Factors]:
            return {"weight": FACTORS[0](self.x, self.units)}

    wrongs: list[Callable[[Array, Array], mg.Factors]] = [
        lambda x, units: mg.Factors(x[:, :2], units),
        lambda x, units: mg.Factors(x[:2], units),
        lambda x, units: mg.Factors(x, units, "out_in"),
        lambda x, units: mg.Factors(None, units),
        lambda x, units: mg.Factors(x[0], units[0]),
    ]
    for wrong in wrongs:
        FACTORS[:] = [wrong]
        model = mg.Sequential(Wrong(5, 3, False))
        optimizer, rng = mg.SGD(model, 0.1), np.random.default_rng(1)
        with mg.Recorder(optimizer, coactivation=True) as recorder:
            for _ in range(2):
                x = rng.normal(size=(6, 5))
                x[:, 1] = 0
                forward_and_back(model, x, rng.normal(size=(6, 3)))
                optimizer.step()
        assert {Reason.GRADIENT_ZERO: 3, Reason.MOVED: 12} == recorder.run["0.weight"].why.counts
        assert "does not fit" in " ".join(recorder.run.report().split())


FACTORS: list[Callable[[Array, Array], mg.Factors]] = []


def test_an_explanation_that_is_not_true() -> None:
    """Where a gradient contradicts what a layer says, nothing of that is believed."""

    class Lies(Lying):
        def explain(self) -> Mapping[str, mg.Factors]:
            return {"weight": mg.Factors(self.x * 0, self.units, "in_out")}

    model = mg.Sequential(Lies(5, 3, False))
    optimizer, rng = mg.SGD(model, 0.1), np.random.default_rng(1)
    with mg.Recorder(optimizer) as recorder:
        x = rng.normal(size=(6, 5))
        x[:, 1] = 0
        forward_and_back(model, x, rng.normal(size=(6, 3)))
        optimizer.step()
    assert {Reason.GRADIENT_ZERO: 3, Reason.MOVED: 12} == recorder.run["0.weight"].why.counts
