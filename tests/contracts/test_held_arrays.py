"""Promise 4 at length: what a loop by hand holds never changes, and may be written into."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
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
    input_gradient,
    layers,
    losses,
    modern,
    sample,
)
from held_support import AnyArray, Hand, Held, Witness, check, data_of, leave, thrifty, train
from loop_support import take_step

import minigrad as mg
from minigrad import data as data_module

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


@sparse(losses, dtypes, every=6)
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
        take_step(model, loss, optimizer, x, y)  # all at once, without Batches
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
