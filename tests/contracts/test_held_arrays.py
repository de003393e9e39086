"""Promise 4 at length: an array that somebody holds never changes, and writing into it spoils
nothing.

A training is run twice. First everything that it hands out is held, by a view alone, so that nobody
could tell from its references that it is still needed; in the end all of it must be as it was. Then
all of it is written into at once; in the end the training must have the same bits as the first
time. Live on purpose, and left out, are the values and gradients of parameters and of their vector.
"""

from __future__ import annotations

import copy
import pickle
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest
from case_support import slow, sparse
from contract_table import (
    MODELS,
    SETTINGS,
    FloatType,
    MakeLayer,
    MakeLoss,
    MakeTargets,
    bits,
    chain,
    constant,
    dtypes,
    fitting,
    in_bits,
    input_gradient,
    layers,
    losses,
    modern,
    sample,
)
from hook_support import Tape

import minigrad as mg
from minigrad import data as data_module
from minigrad.arrays import Array

AnyArray: TypeAlias = npt.NDArray[Any]
Hand: TypeAlias = Callable[..., None]
"""Takes what something is, and arrays of it, or None."""

VIEWS: list[Callable[[AnyArray], AnyArray]] = [
    lambda array: array,
    lambda array: array.T,
    lambda array: array[::-2],
    lambda array: array.reshape(-1) if array.flags.c_contiguous else array,
    lambda array: array[..., :1],
]


class Held:
    """Views of arrays, each of another kind, and what they were when they were handed out."""

    def __init__(self) -> None:
        self._held: list[tuple[str, AnyArray, bytes]] = []
        self._rng = np.random.default_rng(0)

    def hold(self, what: str, *arrays: AnyArray | None) -> None:
        for array in arrays:
            if array is not None:
                view = VIEWS[int(self._rng.integers(len(VIEWS)))](array)
                assert view.size == 0 or np.shares_memory(view, array)
                self._held.append((what, view, view.tobytes()))

    def changed(self) -> set[str]:
        return {what for what, view, before in self._held if before != view.tobytes()}

    def kinds(self) -> set[str]:
        return {what for what, _, _ in self._held}


def spoil(what: str, *arrays: AnyArray | None) -> None:
    for array in arrays:
        if array is not None:
            array.fill(99)


def leave(what: str, *arrays: AnyArray | None) -> None:
    """For a training of which nothing is held."""


def check(run: Callable[[Hand], object]) -> set[str]:
    """Both directions, for something that hands on all its arrays, and gives what came of it.

    Returns what there was.
    """
    held = Held()
    expected = run(held.hold)
    assert set() == held.changed()
    assert expected == run(spoil)
    return held.kinds()


class Thrifty(mg.Layer):
    """A layer of somebody's that keeps what it returns, and returns the same memory again: a chain
    may hold such ones.
    """

    def __init__(self) -> None:
        self.memory: dict[tuple[str, tuple[int, ...]], Array] = {}

    def reused(self, what: str, like: Array) -> Array:
        again: Array = self.memory.setdefault((what, like.shape), np.empty_like(like))
        return again

    def forward(self, x: Array) -> Array:
        self.y = np.tanh(x, out=self.reused("output", x))
        return self.y

    def backward(self, grad: Array) -> Array:
        below = self.reused("gradient", grad)
        np.multiply(grad, 1 - self.y * self.y, out=below)
        return below


def thrifty(dtype: FloatType) -> mg.Sequential:
    return mg.Sequential(
        Thrifty(),
        mg.Sequential(Thrifty(), mg.Dense(4, 3, dtype=dtype, rng=1), Thrifty()),
        Thrifty(),
    )


class Witness(mg.Hook):
    """Hands on every array of every event."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    def on_forward(self, event: mg.Forward) -> None:
        self.hand("event of forward", event.input, event.output)

    def on_backward(self, event: mg.Backward) -> None:
        self.hand("event of backward", event.output_grad, event.input_grad)

    def on_step(self, event: mg.Step) -> None:
        for arrays in (event.updates, event.grads, event.values):
            self.hand("event of step", *arrays.values())
        self.hand("indices of a step", event.indices)


def data_of(dtype: FloatType, n: int = 13) -> tuple[Array, AnyArray]:
    return sample(n, 4, dtype), np.random.default_rng(9).integers(0, 2, n)


def train(
    model: mg.Layer,
    loss: mg.Loss,
    optimizer: mg.Optimizer,
    data: mg.Batches,
    hand: Hand,
    epochs: int = 2,
) -> tuple[list[float], dict[str, bytes], object]:
    """A loop by hand, the second epoch in eval mode; hands on every array that it gets.

    Gives losses and final bits.
    """
    values: list[float] = []
    for epoch in range(epochs):
        model.eval() if epoch == 1 else model.train()
        for x, y in data:
            output = model(x)
            logits = output.copy()
            hand("output", output)  # before backward: that has what it needs
            values.append(loss.forward(logits, y))
            if isinstance(loss, mg.SoftmaxCrossEntropy):
                hand("loss of each sample", loss.per_sample(logits, y))
            hand("what the loss was given", logits)
            hand("targets", y)
            hand("gradient of the loss", loss.backward())
            grad = loss.backward()
            hand("gradient of the input", input_gradient(model, grad))
            hand("what backward was given", grad)
            hand("samples", x)
            optimizer.step()
            if isinstance(model, mg.Sequential):
                hand(
                    "prediction",
                    model.predict(sample(4, 4, x.dtype), batch_size=3),
                    model.predict(data.x[:2]),
                )
            hand("state of the model", *model.state_dict().values())
            for arrays in optimizer.state_dict()["state"].values():
                hand("state of the optimizer", *arrays.values())
            hand("state of the data", data.state_dict()["order"], data.indices)
    return values, bits(model), in_bits(optimizer.state_dict())


# -- a loop by hand, with every model, optimizer and loss ----------------------------------------

MADE = {**MODELS, "thrifty layers": thrifty}
TRAININGS = [(make, constant("SGD momentum"), name) for name, make in MADE.items()]
TRAININGS += [(chain, constant(name), name) for name in SETTINGS]


@sparse(
    pytest.mark.parametrize(
        ("make", "make_optimizer", "dtype"),
        [  # in turn
            pytest.param(make, make_optimizer, (np.float32, np.float64)[number // 2 % 2], id=name)
            for number, (make, make_optimizer, name) in enumerate(TRAININGS)
        ],
    ),
    pytest.mark.parametrize("hooked", [False, True], ids=["alone", "hooked"]),
    every=4,
)
def test_a_loop_by_hand(
    make: MakeLayer,
    make_optimizer: Callable[[mg.Layer], mg.Optimizer],
    dtype: FloatType,
    hooked: bool,
) -> None:
    """Outputs, gradients, batches, predictions, states and events, with the smaller last batch of
    an epoch.
    """

    def run(hand: Hand) -> object:
        model, (x, y) = make(dtype), data_of(dtype)
        optimizer = make_optimizer(model)
        if hooked:
            optimizer.attach(Witness(hand))
            if isinstance(model, mg.Sequential):
                model.attach(Witness(hand))
        return train(
            model, mg.SoftmaxCrossEntropy(), optimizer, mg.Batches(x, y, 5, rng=1), hand
        ), x.tobytes()

    found = check(run)
    assert {"output", "gradient of the input", "samples", "state of the model"} <= found
    assert hooked == ("event of step" in found)


@sparse(losses, dtypes, every=4)
def test_a_loop_by_hand_with_every_loss(
    make: MakeLoss, targets_of: MakeTargets, dtype: FloatType
) -> None:
    """Each kind of targets, which a batch may hold in other dtypes than the outputs."""

    def run(hand: Hand) -> object:
        model, x, y = chain(dtype), sample(13, 4, dtype), targets_of(13)
        return train(
            model, make(), mg.SGD(model, lr=0.01), mg.Batches(x, y, 5, rng=1), hand, epochs=1
        ), y.tobytes()

    check(run)


# -- layers and losses, each called by hand ------------------------------------------------------


@sparse(layers, dtypes, every=4)
def test_a_layer(make: MakeLayer, dtype: FloatType) -> None:
    """Outputs and gradients of one layer, over batches of several sizes, in training and in eval
    mode, copied meanwhile.
    """

    def run(hand: Hand) -> object:
        layer, ends = make(dtype), []
        for number, size in enumerate((7, 7, 3, 1, 5, 7)):
            layer.eval() if number == 4 else layer.train()
            x = sample(fitting(layer, size), 4, dtype, seed=number)
            before = x.tobytes()
            output = layer(x)
            grad = np.cos(output)
            hand("output", output)
            below = input_gradient(layer, grad)
            assert not any(
                np.shares_memory(*pair) for pair in combinations((x, output, grad, below), 2)
            )
            assert before == x.tobytes()
            ends.append(below.tobytes())
            hand("gradients", below, grad)
            hand("input", x)
            hand("state", *layer.state_dict().values())
            if number == 2:
                layer = copy.deepcopy(layer)
            if isinstance(layer, mg.Sequential):
                hand(
                    "prediction",
                    layer.predict(sample(3, 4, dtype)),
                    layer.predict(sample(3, 4, dtype), batch_size=2),
                )
        return ends, bits(layer)

    check(run)


@sparse(losses, dtypes, every=2)
def test_what_a_loss_gave_stays(make: MakeLoss, targets_of: MakeTargets, dtype: FloatType) -> None:
    """Gradients, probabilities, and the losses of samples, over batches of the same and of other
    sizes.
    """
    loss, held = make(), Held()
    for number, size in enumerate((7, 7, 3, 1, 7)):
        logits, targets = sample(size, 3, dtype, seed=number), targets_of(size)
        loss.forward(logits, targets)
        held.hold("given", logits, targets)
        held.hold("gradient", loss.backward(), loss.backward())
        if isinstance(loss, mg.SoftmaxCrossEntropy):
            held.hold("probabilities", loss.probabilities)
            held.hold("losses", loss.per_sample(logits, targets))
    assert set() == held.changed()


@sparse(dtypes, every=2)
def test_a_model_of_copies_holds_its_own(dtype: FloatType) -> None:
    """What a copied model or optimizer gave stays while the original is trained, and the other way
    round.
    """
    model = modern(dtype)
    optimizer, (x, y) = mg.Adam(model), data_of(dtype)
    train(model, mg.SoftmaxCrossEntropy(), optimizer, mg.Batches(x, y, 5, rng=1), leave, epochs=1)
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        for first, second in ((optimizer, copied), (copied, optimizer)):
            held = Held()
            held.hold(
                "live arrays of the other",
                *(parameter.value for _, parameter in first.model.parameters()),
            )
            held.hold(
                "live arrays of the other",
                *(parameter.grad for _, parameter in first.model.parameters()),
            )
            data = mg.Batches(x, y, 5, rng=1)
            train(second.model, mg.SoftmaxCrossEntropy(), second, data, leave, epochs=1)
            assert set() == held.changed()


# -- what the user gives -------------------------------------------------------------------------


@dtypes
def test_a_batch_may_change_once_backward_is_done(dtype: FloatType) -> None:
    """`forward` says that its input must not change before.

    The step then needs it no more, nor the gradient.
    """
    ends = []
    for write in (False, True):
        model = modern(dtype)
        optimizer, x = mg.Adam(model), sample(7, 4, dtype)
        for seed in range(3):
            x[...] = sample(7, 4, dtype, seed)  # one array for all batches
            grad = np.cos(model(x))
            model.backward(grad)
            if write:
                x.fill(99)
                grad.fill(99)
            optimizer.step()
        ends.append(bits(model))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("given", [np.float32, np.float64, np.int64, np.uint8])
@dtypes
def test_what_the_user_gives_is_only_read(given: npt.DTypeLike, dtype: FloatType) -> None:
    """Data, validation data, class weights, initial values and states may be read-only, in any
    dtype, and keep their bits.
    """
    x, y = (10 * abs(sample(13, 4, np.float64))).astype(given), data_of(dtype)[1]
    start = {name: array.astype(given) for name, array in chain(dtype).state_dict().items()}
    weights, first = np.array([1, 2, 3], given), np.ones((4, 5), given)
    mine: list[AnyArray] = [x, y, weights, first, *start.values()]
    before = [array.tobytes() for array in mine]
    for array in mine:
        array.flags.writeable = False
    model = mg.Sequential(
        mg.Dense(4, 5, dtype=dtype, init=lambda shape, rng: first), *chain(dtype)[1:]
    )
    model.load_state_dict(start)
    loss, optimizer = (
        mg.SoftmaxCrossEntropy(class_weight=weights),
        mg.SGD(model, lr=0.1, momentum=0.9),
    )
    data = mg.Batches(x, y, 5, shuffle=False)
    mg.fit(model, loss, optimizer, data, epochs=2, validation_data=(x, y), progress=False)
    for _ in range(3):
        loss.forward(model(x), y)  # all at once, without Batches
        model.backward(loss.backward())
        optimizer.step()
    model.predict(x)
    alone = mg.Parameter(first)
    alone.value = alone.grad = 2 * first
    assert before == [array.tobytes() for array in mine]


@dtypes
def test_states_that_were_loaded_stay_the_users(dtype: FloatType) -> None:
    """Neither does a training change a state that was loaded into it, nor a write into that state
    the training.
    """

    def run(hand: Hand) -> object:
        model, (x, y) = modern(dtype), data_of(dtype)
        optimizer, data, loss = mg.Adam(model), mg.Batches(x, y, 5, rng=1), mg.SoftmaxCrossEntropy()
        train(model, loss, optimizer, data, leave, epochs=1)
        next(iter(data))  # so that the state is of the middle of an epoch
        states = model.state_dict(), optimizer.state_dict(), data.state_dict()
        model.load_state_dict(states[0])
        optimizer.load_state_dict(states[1])
        data.load_state_dict(states[2])
        hand("state", *states[0].values(), states[2]["order"])
        hand(
            "state", *(array for arrays in states[1]["state"].values() for array in arrays.values())
        )
        return train(model, loss, optimizer, data, leave)

    check(run)


# -- batches -------------------------------------------------------------------------------------

PIXELS = np.random.default_rng(3).integers(0, 256, (13, 4), dtype=np.uint8)


def mapped(directory: Path, array: AnyArray) -> AnyArray:
    """A memory map of a file with this content."""
    np.save(directory / "array.npy", array)
    read: AnyArray = np.load(directory / "array.npy", mmap_mode="r")
    return read


SAMPLES: dict[str, Callable[[Path], AnyArray]] = {
    "uint8": lambda directory: PIXELS.copy(),
    "float32": lambda directory: PIXELS.astype(np.float32),
    "float64": lambda directory: PIXELS.astype(np.float64),
    "integers": lambda directory: PIXELS.astype(np.int64),
    "column by column": lambda directory: np.asfortranarray(PIXELS.astype(np.float32)),
    "every second column": lambda directory: np.repeat(PIXELS.astype(np.float32), 2, axis=1)[
        :, ::2
    ],
    "images": lambda directory: PIXELS.astype(np.float32).reshape(13, 2, 2),
    "a memory map": lambda directory: mapped(directory, PIXELS),
    "a memory map of float32": lambda directory: mapped(directory, PIXELS.astype(np.float32)),
}
TARGETS: dict[str, AnyArray] = {
    "labels": np.arange(13) % 3,
    "small labels": (np.arange(13) % 3).astype(np.int8),
    "rows": np.eye(3)[np.arange(13) % 3],
}


@sparse(
    pytest.mark.parametrize("make", SAMPLES.values(), ids=SAMPLES.keys()),
    pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS.keys()),
)
def test_batches(
    make: Callable[[Path], AnyArray],
    targets: AnyArray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each batch is an array of its own: no view of the data, nor of another batch."""
    x, y = make(tmp_path), targets.copy()

    def run(hand: Hand) -> object:
        seen = []
        for shuffle, scale in ((False, None), (False, 1 / 255), (True, None), (True, 1.0)):
            data = mg.Batches(x, y, 5, shuffle=shuffle, rng=1, scale=scale)
            for batch in (*data, *data, *data.in_order()):
                seen.append([array.tobytes() for array in batch])
                assert not any(
                    np.shares_memory(array, whole) for array in batch for whole in (x, y)
                )
                hand("batch", *batch, data.indices, data.state_dict()["order"])
                seen.append([data.indices.tobytes(), data.state_dict()["order"].tobytes()])
        return seen, x.tobytes(), y.tobytes()

    check(run)
    if isinstance(x, np.memmap):
        monkeypatch.setattr(
            data_module, "_LARGE", 1
        )  # a map whose pages are given back as they are read
        check(run)


# -- fit -----------------------------------------------------------------------------------------


@dtypes
def test_fit(dtype: FloatType) -> None:
    """The arrays of events, those that a metric sees, and the figures of epochs."""

    def run(hand: Hand) -> object:
        class Epochs(mg.Hook):
            def on_epoch(self, event: mg.Epoch) -> None:
                epochs.append((event.metrics, dict(event.metrics)))

        def metric(outputs: Array, targets: AnyArray) -> float:
            seen.hold("what a metric sees", outputs, targets)
            return float(outputs.mean())

        seen, epochs = Held(), list[tuple[Any, dict[str, float]]]()
        model, loss, (x, y) = modern(dtype), mg.SoftmaxCrossEntropy(), data_of(dtype)
        optimizer, data = mg.SGD(model, lr=0.1, momentum=0.9), mg.Batches(x, y, 5, rng=1)
        metrics: Any = {"accuracy": "accuracy", "own": metric}
        hooks, validation = [Witness(hand), Epochs()], data_of(dtype, 7)
        settings: dict[str, Any] = {"epochs": 3, "progress": False}
        history = mg.fit(
            model,
            loss,
            optimizer,
            data,
            validation_data=validation,
            metrics=metrics,
            hooks=hooks,
            **settings,
        )
        assert set() == seen.changed()
        assert all(before == metrics for metrics, before in epochs)
        assert {name: [metrics[name] for metrics, _ in epochs] for name in epochs[0][0]} == dict(
            history
        )
        hand("state of the history", *history.state_dict()["figures"].values())
        return bits(model), in_bits(optimizer.state_dict()), dict(history)

    assert {"event of forward", "event of backward", "event of step", "indices of a step"} <= check(
        run
    )


def test_a_history_stays_while_another_training_goes_on(tmp_path: Path) -> None:
    """A resumed or second training has a history of its own.

    That of the first keeps its figures.
    """
    model, (x, y) = modern(np.float32), data_of(np.float32)
    optimizer, data = mg.SGD(model, lr=0.1), mg.Batches(x, y, 5, rng=1)

    def run(epochs: int, **settings: Any) -> mg.History:
        return mg.fit(
            model,
            mg.SoftmaxCrossEntropy(),
            optimizer,
            data,
            epochs=epochs,
            progress=False,
            **settings,
        )

    checkpoint = mg.Checkpoint(tmp_path / "last.npz")
    first = run(2, hooks=[checkpoint])
    held, columns = {name: list(column) for name, column in first.items()}, dict(first)
    second = run(4, resume_from=checkpoint.path)
    run(1)
    assert (2, 4) == (first.epochs, second.epochs)
    assert held == dict(first) == columns


# -- records -------------------------------------------------------------------------------------

RECORDS: dict[
    str, dict[str, Any]
] = {  # a row has 38 entries, and the budget room for 17 blocks of two rows
    "all": {"keyframe_every": 20},
    "thinned": {"budget": 7_600},
    "ring": {"budget": 7_600, "on_full": "ring"},
    "stopped": {"budget": 7_600, "on_full": "stop"},
    "gradients too": {"keep": ("update", "grad"), "keyframe_every": 9},
    "every third, thinned": {"every": 3, "budget": 7_600},
    "every third, ring": {"every": 3, "budget": 7_600, "on_full": "ring"},
    "counts": {"keep": ()},
    "rows, ring": {"aggregates": False, "budget": 7_600, "on_full": "ring"},
}


def read(run: mg.Run, hand: Hand) -> None:
    """Hand on all that a run hands out, but for views, which nobody can write into."""
    steps = run.exact_steps.tolist()
    hand("exact steps", run.exact_steps)
    hand("figures", run.lr, run.loss, run.clip_factor, run.indices(run.steps[-1]))
    for name in run:
        history = run[name]
        hand(
            "values",
            history.initial,
            history.final,
            *(history.value(step) for step in steps[:: len(steps) // 5 + 1]),
        )
        hand("changes", *(history.effective(step) for step in steps[1:2] if step - 1 in steps))
        hand("ratios", history.ratio)
        for tensors in (history.updates, history.grads):
            hand("rows", *tensors[:2], *tensors[-1:])
            hand("steps of the rows", tensors.steps)
        if run._record.counts is not None:  # noqa: SLF001
            hand("counts", history.moves, history.moved, history.swallowed, history.movement)
            hand("first and last", history.first_move, history.last_move)


def content(run: mg.Run) -> list[bytes]:
    """All of it, to be compared."""
    found: list[bytes] = []
    read(
        run,
        lambda what, *arrays: found.extend(
            array.tobytes() for array in arrays if array is not None
        ),
    )
    return [*found, repr(run).encode()]


def rows_of(run: mg.Run, hand: Hand) -> None:
    """Hand on the rows as arrays over the steps: views of the record's memory, or of its files,
    where that can be.
    """
    for name in run:
        for tensors in (run[name].updates, run[name].grads):
            parts = [
                tensors,
                tensors[:1],
                tensors[-3:],
                tensors[2:20:2],
                *(tensors[at : at + 2] for at in (2, 7)),
            ]
            hand("rows over the steps", *(np.asarray(part) for part in parts if len(part)))


def spoil_copies(what: str, *arrays: AnyArray | None) -> None:
    """Views of a record are read-only.

    Where several blocks were put together, the array is a copy.
    """
    spoil(what, *(array for array in arrays if array is not None and array.flags.writeable))


@pytest.mark.parametrize(
    ("settings", "on_disk"),
    [
        *(
            (pytest.param if name in ("ring", "gradients too") else slow)(
                settings, False, id=f"{name}, in memory"
            )
            for name, settings in RECORDS.items()
        ),
        *(
            (pytest.param if name == "all" else slow)(RECORDS[name], True, id=f"{name}, on disk")
            for name in ("all", "thinned", "every third, ring")
        ),
    ],
)
def test_a_record(settings: dict[str, Any], on_disk: bool, tmp_path: Path) -> None:
    """Values, counts and rows, and views of rows, while the record goes on, gives up blocks and
    uses their memory again.
    """
    directories = iter((tmp_path / "held", tmp_path / "spoilt"))

    def run(hand: Hand) -> object:
        model, (x, y) = chain(np.float32), data_of(np.float32)
        optimizer, data, loss = (
            mg.SGD(model, lr=0.1, momentum=0.9),
            mg.Batches(x, y, 5, rng=1),
            mg.SoftmaxCrossEntropy(),
        )
        path = next(directories) if on_disk else None
        recorder, tape = mg.Recorder(optimizer, loss=loss, data=data, path=path, **settings), Tape()
        other, runs = mg.SGD(model, lr=0.01), list[tuple[mg.Run, list[bytes]]]()

        def look() -> None:
            runs.append((recorder.run, content(recorder.run)))
            read(recorder.run, hand)
            rows_of(recorder.run, spoil_copies if hand is spoil else hand)

        optimizer.attach(tape)
        initial = model.state_dict()
        with recorder:
            while optimizer.step_count < 66:
                for batch, labels in data:
                    loss.forward(model(batch), labels)
                    model.backward(loss.backward())
                    optimizer.step()
                    if optimizer.step_count in (1, 7, 31, 50):
                        look()
                    if optimizer.step_count in (
                        6,
                        20,
                        51,
                    ):  # then the record begins a block, and uses the rest of the last
                        model.backward(model(x))
                        other.step()
        look()
        for name in initial:  # what is handed out in the end is what the training did
            history = recorder.run[name]
            assert initial[name].tobytes() == history.initial.tobytes()
            for step, update in zip(
                history.updates.steps, np.asarray(history.updates), strict=True
            ):
                assert tape.updates[step][name].tobytes() == update.tobytes()
            for step in recorder.run.exact_steps[::7]:
                assert tape.values[step][name].tobytes() == history.value(step).tobytes()
        for read_before, before in (
            runs[-1:] if on_disk else runs
        ):  # the files of an earlier one may be given up
            assert before == content(read_before)
            assert mg.Run.verify(read_before).mismatch is None
        if path is not None:
            shutil.rmtree(path)  # views of files outlive the files
        return bits(model), runs[-1][1]

    found = check(run)
    assert ("rows over the steps" in found) == (settings.get("keep") != ())


@pytest.mark.slow
@sparse(dtypes, every=2)
def test_views_of_a_run_stay_while_it_is_resumed(dtype: FloatType, tmp_path: Path) -> None:
    """A run on disk that another session goes on with, and thins, leaves what was read of the first
    session as it was.
    """
    held = Held()
    settings: dict[str, Any] = {"budget": 7_600, "path": tmp_path / "run"}
    model, (x, y) = chain(dtype), data_of(dtype)
    optimizer, data, loss = (
        mg.SGD(model, lr=0.1),
        mg.Batches(x, y, 5, rng=1),
        mg.SoftmaxCrossEntropy(),
    )
    for session in range(3):
        with mg.Recorder(
            optimizer, loss=loss, data=data, resume=session > 0, **settings
        ) as recorder:
            train(model, loss, optimizer, data, leave, epochs=7)
        run = mg.Run.open(tmp_path / "run")
        rows_of(run, held.hold)
        read(run, held.hold)
        read(recorder.run, held.hold)
    assert set() == held.changed()
