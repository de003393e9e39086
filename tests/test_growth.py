"""What grows, and how: operations and memory are counted, and time is never measured.

A step costs the same whatever number of steps came before, and leaves no memory behind but what a
record announces. All work on a model is linear in its layers, and a thousand of them meet no limit.
Of the parameters there are no copies but those that somebody needs; the figures here are worked out
on paper, in multiples of the parameters' own bytes.
"""

from __future__ import annotations

import copy
import gc
import pickle
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from case_support import slow, sparse
from layer_support import Residual
from loop_support import take_step

import minigrad as mg
from minigrad.arrays import Array
from minigrad.recording.memory_store import MemoryStore
from minigrad.runs.kept_steps import KeptStep

T = TypeVar("T")
X: Array = np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32)
Y = np.arange(8) % 2


def block() -> Residual:
    """A residual block, which holds its layers in a Sequential of its own."""
    return Residual(mg.Dense(2, 2, rng=0), mg.Activation("tanh"))


class Watcher(mg.Hook):
    """Looks at each event, and counts them."""

    def __init__(self) -> None:
        self.calls = {"forward": 0, "backward": 0, "step": 0}

    def on_forward(self, event: mg.Forward) -> None:
        self.calls["forward"] += len(event.output) > 0

    def on_backward(self, event: mg.Backward) -> None:
        self.calls["backward"] += len(event.output_grad) > 0

    def on_step(self, event: mg.Step) -> None:
        self.calls["step"] += len(dict(event.updates)) > 0


def chain(layers: int) -> mg.Sequential:
    """Weights near the identity, so that what goes through a thousand of them stays finite."""
    return mg.Sequential(
        *(mg.Dense(2, 2, init=lambda shape, rng: np.eye(2)) for _ in range(layers))
    )


def blocks(count: int) -> mg.Sequential:
    return mg.Sequential(*(block() for _ in range(count)))


def nested(depth: int) -> mg.Sequential:
    """So many Sequentials, one in the other."""
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    for _ in range(depth - 1):
        model = mg.Sequential(model)
    return model


def steps(model: mg.Layer, optimizer: mg.Optimizer, count: int) -> None:
    for _ in range(count):
        model.backward(np.cos(model(X)))
        optimizer.step()


# -- many layers ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "make", [lambda: chain(1000), lambda: nested(100)], ids=["1000 in a chain", "100 nested"]
)
def test_a_thousand_layers_in_a_chain_or_100_one_in_the_other(
    make: Callable[[], mg.Sequential], tmp_path: Path
) -> None:
    """Everything that is done with a model: no limit of recursion is met."""
    model, watcher, loss = make(), Watcher(), mg.SoftmaxCrossEntropy()
    names = [name for name, _ in model.parameters()]
    layers = len(list(model.layers())) - 1
    assert (
        repr(model).count("Dense(2, 2)") == model.summary().count("Dense(2, 2)") == len(names) // 2
    )
    optimizer, data = mg.SGD(model, lr=1e-3), mg.Batches(X, Y, 8, rng=0)
    with (
        model.attach(watcher),
        optimizer.attach(watcher),
        mg.Recorder(optimizer, loss=loss, data=data) as recorder,
    ):
        mg.fit(model, loss, optimizer, data, epochs=1, progress=False)
    assert {"backward": layers, "step": 1} == {
        what: watcher.calls[what] for what in ("backward", "step")
    }
    assert watcher.calls["forward"] in range(
        layers * 2, layers * 9, layers
    )  # checks go forward as well
    assert names == list(recorder.run)
    assert all(
        sum(recorder.run[name].why.counts.values()) == recorder.run[name].size for name in names
    )
    assert recorder.run.verify()
    assert recorder.run.report().count("entries moved") >= len(names)
    output, below = model(X), model.backward(np.ones_like(X), input_grad=True)
    assert below is not None
    assert output.tobytes() == model.predict(X).tobytes()
    state = {name: array.tobytes() for name, array in model.state_dict().items()}
    mg.save(tmp_path / "model.npz", model=model, optimizer=optimizer, data=data)
    copied, pickled = copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))
    steps(copied.model, copied, 1)
    assert output.tobytes() != copied.model(X).tobytes()
    mg.load(tmp_path / "model.npz", model=copied.model, optimizer=copied)
    pickled.model.load_state_dict(model.state_dict())
    for other in (copied, pickled):
        assert state == {name: array.tobytes() for name, array in other.model.state_dict().items()}
        assert output.tobytes() == other.model(X).tobytes()
    model.eval().train().freeze().unfreeze()


def test_a_part_of_a_deep_model_is_copied_alone() -> None:
    """A layer that another holds can be copied and pickled by itself, with what is inside."""
    model = mg.Sequential(blocks(2), mg.Dense(2, 2, rng=1))
    for part in (
        copy.deepcopy(model[0]),
        pickle.loads(pickle.dumps(model[0])),
        copy.deepcopy(model[0:1]),
    ):
        assert model[0](X).tobytes() == part(X).tobytes()
        steps(part, mg.SGD(part, lr=0.1), 1)
        assert model[0](X).tobytes() != part(X).tobytes()


# -- operations ----------------------------------------------------------------------------------


def calls(work: Callable[[], object]) -> int:
    """How many functions are called, Python's and C's."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def work_on(
    make: Callable[[int], mg.Sequential], size: int, path: Path
) -> Iterator[tuple[str, int]]:
    """The calls that each kind of work on a model of this size takes."""
    models: list[mg.Sequential] = []
    yield "construct", calls(lambda: models.append(make(size)))
    model = models[0]
    yield "the first pass", calls(lambda: model.backward(model(X)))
    yield "a pass", calls(lambda: model.backward(model(X), input_grad=True))
    optimizers: list[mg.SGD] = []
    yield "make an optimizer", calls(lambda: optimizers.append(mg.SGD(model, lr=1e-3)))
    optimizer = optimizers[0]
    yield "a step", calls(lambda: steps(model, optimizer, 1))
    with model.attach(Watcher()), optimizer.attach(Watcher()):
        yield "a watched step", calls(lambda: steps(model, optimizer, 1))
    yield "attach", calls(lambda: model.attach(Watcher()).remove())
    recorder = mg.Recorder(optimizer)
    with recorder:
        yield "record", calls(lambda: steps(model, optimizer, 3))
    yield "report", calls(recorder.run.report)
    yield "why", calls(lambda: [recorder.run[name].why.counts for name in recorder.run])
    yield "states", calls(lambda: model.load_state_dict(model.state_dict()))
    yield "show", calls(lambda: (repr(model), model.summary()))
    yield "copy", calls(lambda: copy.deepcopy(optimizer))
    yield "pickle", calls(lambda: pickle.loads(pickle.dumps(optimizer)))
    yield "save", calls(lambda: mg.save(path / "model.npz", model=model, optimizer=optimizer))
    yield "load", calls(lambda: mg.load(path / "model.npz", model=model, optimizer=optimizer))
    yield (
        "a slice",
        calls(lambda: steps(model[: size // 2], mg.SGD(model[: size // 2], lr=1e-3), 1)),
    )
    data = mg.Batches(X, Y, 4, rng=0)
    yield (
        "fit",
        calls(
            lambda: mg.fit(
                model, mg.SoftmaxCrossEntropy(), optimizer, data, epochs=1, progress=False
            )
        ),
    )


@pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten")
@pytest.mark.parametrize("make", [chain, slow(blocks)])
def test_all_work_is_linear_in_the_layers(
    make: Callable[[int], mg.Sequential], tmp_path: Path
) -> None:
    """Twice as many layers take at most twice the calls, and a few."""
    dict(work_on(make, 4, tmp_path))  # what is done once, such as imports
    small, large = dict(work_on(make, 16, tmp_path)), dict(work_on(make, 32, tmp_path))
    assert {} == {
        what: (small[what], large[what]) for what in small if large[what] > 2.1 * small[what] + 20
    }


RECORDS: dict[str, dict[str, Any]] = {
    "counts": {"keep": ()},
    "many blocks": {"keyframe_every": 1},
    "few blocks": {},
    "ring": {"budget": 2_000, "on_full": "ring"},
    "stopped": {"budget": 2_000, "on_full": "stop"},
}


@sparse(pytest.mark.parametrize("settings", RECORDS.values(), ids=RECORDS.keys()), every=5)
def test_a_recorded_step_stays_as_much_work(settings: dict[str, Any]) -> None:
    """Fifty steps take as many calls after five hundred as after fifty."""
    model = chain(1)
    optimizer, data = mg.SGD(model, lr=1e-6), mg.Batches(X, Y, 4, rng=0)
    with mg.Recorder(optimizer, data=data, **settings):
        steps(model, optimizer, 50)
        early = calls(lambda: steps(model, optimizer, 50))
        steps(model, optimizer, 400)
        assert calls(lambda: steps(model, optimizer, 50)) < 1.1 * early


def test_what_a_record_on_disk_takes_is_added_up_once(tmp_path: Path) -> None:
    """Files take the clock's time, so here only the sum of all blocks is counted, which every block
    asks for.
    """
    model = chain(1)
    optimizer, found = mg.SGD(model, lr=1e-6), list[int]()
    with mg.Recorder(optimizer, path=tmp_path / "run", keyframe_every=1) as recorder:
        for _ in range(4):
            steps(model, optimizer, 20)
            _ = recorder._store._taken  # noqa: SLF001
            found.append(calls(lambda: recorder._store._taken))  # noqa: SLF001
        assert found[:1] * 4 == found
        blocks = recorder._store.blocks  # noqa: SLF001
        assert sum(map(recorder._store._size_of, blocks)) == recorder._store._taken  # noqa: SLF001


# -- memory that stays ---------------------------------------------------------------------------


@pytest.fixture
def traced() -> Iterator[None]:
    gc.collect()
    # what other tests left; it would be gone through again each time that garbage is collected
    gc.freeze()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.unfreeze()


def growth(work: Callable[[], object]) -> int:
    """How many bytes are held after it that were not held before."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    work()
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


def with_buffers() -> mg.Sequential:
    return mg.Sequential(
        mg.Dense(2, 4, rng=0), mg.BatchNorm(4), mg.Activation("tanh"), mg.Dense(4, 2, rng=1)
    )


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@sparse(pytest.mark.parametrize("watched", [False, True], ids=["", "watched"]), every=2)
def test_steps_leave_no_memory_behind(watched: bool) -> None:
    """By hand, with batches of two sizes, and in `fit`: forty steps hold less than one of them
    more than before.
    """
    model, loss = with_buffers(), mg.SoftmaxCrossEntropy()
    optimizer, data = mg.Adam(model), mg.Batches(X, Y, 5, rng=0)
    hooks = [Watcher()] if watched else []
    for hook in hooks:
        model.attach(hook)
        optimizer.attach(hook)

    def by_hand(epochs: int) -> None:
        for _ in range(epochs):
            for x, y in data:
                take_step(model, loss, optimizer, x, y)

    def in_fit(epochs: int) -> None:
        mg.fit(
            model,
            loss,
            optimizer,
            data,
            epochs=epochs,
            hooks=hooks,
            validation_data=(X, Y),
            progress=False,
        )

    for work in (by_hand, in_fit):
        work(10)
        assert growth(lambda work=work: work(20)) < 2_500  # type: ignore[misc] # bytes; a step has more than that


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
@sparse(
    pytest.mark.parametrize(
        ("make", "settings"),
        [
            pytest.param(lambda: chain(1), {"keep": ()}, id="counts"),
            pytest.param(with_buffers, {"keep": ()}, id="counts, with buffers"),
            pytest.param(with_buffers, {}, id="both"),
            pytest.param(
                lambda: chain(1),
                {"keyframe_every": 8, "aggregates": False},
                id="rows, in many blocks",
            ),
            pytest.param(lambda: chain(1), {"every": 7}, id="every seventh"),
        ],
    ),
    every=5,
)
def test_a_record_grows_as_announced(
    settings: dict[str, Any], make: Callable[[], mg.Sequential]
) -> None:
    """By what `estimate` says, and the little that lists have in reserve, and a number and an
    object for each row and block.
    """
    model, data = make(), mg.Batches(X, Y, 4, rng=0)
    optimizer = mg.SGD(model, lr=1e-6)
    recorder = mg.Recorder(optimizer, data=data, **settings)
    recorder.start()
    next(iter(data))
    steps(model, optimizer, 50)
    announced = recorder.estimate(200).bytes - recorder.estimate(50).bytes
    rows = 150 // settings.get("every", 1) if settings.get("keep") != () else 0
    found = growth(lambda: steps(model, optimizer, 150))
    ready = (
        150 if settings.get("keyframe_every", 256) > 200 else -16
    )  # rows: they had room before, or have more now
    if rows:
        announced -= min(rows, ready) * recorder.estimate(1).bytes_per_step
    assert (
        found
        < 1.15 * announced + 8 * rows + 1_000 * rows // settings.get("keyframe_every", 256) + 3_000
    )
    recorder.stop()


def test_buffers_are_kept_as_they_were() -> None:
    """State that is not learnt is kept as bytes: each step's arrays come back, of other shapes and
    dtypes too.
    """
    store = MemoryStore(1, np.dtype(np.float32), (), 256, 10**6, "thin")
    rng = np.random.default_rng(0)
    given: list[dict[str, Any]] = [{} for _ in range(2)]
    given += [{"a": rng.normal(size=3), "b": np.float32(step)} for step in range(3)]
    given += [
        {"a": rng.normal(size=(2, 2)).astype(np.float32), "c": np.arange(step)} for step in range(3)
    ]
    for step, buffers in enumerate(given):
        arrays = {name: np.array(array) for name, array in buffers.items()}
        store.keep(KeptStep(step, 0.1, 0.2, 1.0, None, arrays))
    found = store.kept().buffers
    store.keep(KeptStep(99, 0.1, 0.2, 1.0, None, {}))  # what was handed out does not change
    assert len(given) == len(found)
    for place, buffers in enumerate(given):
        for one in (found[place], found[place - len(given)], found[place:][0]):
            assert list(buffers) == list(one)
            for name, array in buffers.items():
                assert np.asarray(array).dtype == one[name].dtype
                assert np.array_equal(array, one[name])


# -- copies of the parameters --------------------------------------------------------------------

SIDE = 500
BYTES = (
    4 * 2 * (SIDE * SIDE + SIDE)
)  # of two layers' weights and biases: what the figures below are multiples of
FEW = 0.06  # rows, names, objects


def large() -> mg.Sequential:
    return mg.Sequential(
        mg.Dense(SIDE, SIDE, init="zeros"),
        mg.Activation("relu"),
        mg.Dense(SIDE, SIDE, init="zeros", rng=0),
    )


def peak(work: Callable[[], T], most: float, stays: float) -> T:
    """Do something, and make sure that it takes no more memory meanwhile, and after it, than
    this.
    """
    gc.collect()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    result = work()
    now, highest = tracemalloc.get_traced_memory()
    assert (highest - before) / BYTES <= most + FEW
    assert (now - before) / BYTES <= stays + FEW
    return result


def backward(model: mg.Layer) -> None:
    model.backward(np.ones_like(model(np.ones((2, SIDE), np.float32))))


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_copies_of_the_parameters_in_a_model() -> None:
    """Values and gradients are what a model has.

    The layers' own values are held until they have moved into it.
    """
    rows = np.ones((1_000, SIDE), np.float32)
    outputs = rows.nbytes / BYTES
    mg.Sequential(mg.Dense(1, 1, rng=0))
    model = peak(large, most=1 + 2, stays=2)
    for _ in range(2):
        peak(lambda: backward(model), most=0, stays=0)
    state = peak(model.state_dict, most=1, stays=1)
    peak(lambda: model.load_state_dict(state), most=1, stays=0)
    peak(
        lambda: model.predict(rows, batch_size=50), most=2 * outputs + 0.3, stays=outputs
    )  # parts, and all of them
    copied = peak(lambda: copy.deepcopy(model), most=2, stays=2)
    peak(lambda: backward(copied), most=2, stays=0)  # its vector is made
    # What is put into a larger model lets go of its own memory at once, not when garbage is next
    # collected.
    larger = peak(lambda: mg.Sequential(model, mg.Dense(SIDE, 1, init="zeros")), most=2, stays=0)
    peak(lambda: backward(larger), most=0, stays=0)
    pickled = pickle.dumps(large())
    peak(lambda: pickle.loads(pickled), most=2, stays=2)


OPTIMIZERS: dict[
    str, tuple[Callable[[mg.Layer], mg.Optimizer], int, int]
] = {  # arrays that it keeps; those of a step
    "SGD": (lambda model: mg.SGD(model, lr=0.1), 1, 0),
    "SGD momentum": (lambda model: mg.SGD(model, lr=0.1, momentum=0.9), 2, 0),
    "SGD decay": (lambda model: mg.SGD(model, lr=0.1, weight_decay=0.1), 1, 1),
    "SGD max_grad_norm": (lambda model: mg.SGD(model, lr=0.1, max_grad_norm=0.1), 1, 1),
    "Adam": (lambda model: mg.Adam(model), 3, 0),
    "AdamW": (lambda model: mg.AdamW(model), 3, 1),
    "RMSprop": (lambda model: mg.RMSprop(model), 2, 1),
}


@pytest.mark.usefixtures("traced")
@sparse(
    pytest.mark.parametrize(
        ("make", "kept", "meanwhile"), OPTIMIZERS.values(), ids=OPTIMIZERS.keys()
    ),
    every=7,
)
def test_copies_of_the_parameters_in_a_step(
    make: Callable[[mg.Layer], mg.Optimizer], kept: int, meanwhile: int, tmp_path: Path
) -> None:
    """An optimizer keeps the update and its moments; plain steps allocate nothing.

    A file is written from live arrays.
    """
    model = large()
    optimizer = peak(lambda: make(model), most=kept, stays=kept)
    for _ in range(2):
        backward(model)
        peak(optimizer.step, most=meanwhile, stays=0)
    # One array at a time is on its way into the file, or a megabyte of it into the checksum; what
    # is read is checked first.
    peak(
        lambda: mg.save(tmp_path / "all.npz", model=model, optimizer=optimizer),
        most=max(0.5, 2.1e6 / BYTES),
        stays=0,
    )
    states = kept - 1
    read, before, converted = 1 + states, 1, max(1, states)
    peak(
        lambda: mg.load(tmp_path / "all.npz", model=model, optimizer=optimizer),
        most=read + before + converted,
        stays=0,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("traced")
def test_copies_of_the_parameters_in_a_record() -> None:
    """The values before and after a step.

    Rows and keyframes as announced; of the counts, 74 bytes an entry.
    """
    model = large()
    optimizer = mg.SGD(model, lr=0.1)
    for settings, kept in (({"keep": (), "aggregates": False}, 2.0), ({"keep": ()}, 2.0 + 74 / 4)):
        make = lambda settings=settings: mg.Recorder(optimizer, **settings)
        recorder = peak(make, most=kept, stays=kept)
        peak(recorder.start, most=2, stays=2)
        backward(model)
        samples = (
            255 * 3 * 2 * SIDE / BYTES if kept > 2 else 0
        )  # what inputs and units did in as many samples, in bytes
        peak(optimizer.step, most=1 + samples, stays=samples)
        for _ in range(2):
            backward(model)
            peak(optimizer.step, most=0.6, stays=0)  # masks of one byte an entry
        peak(recorder.stop, most=1, stays=1)
        del recorder
    recorder = mg.Recorder(optimizer, aggregates=False, keyframe_every=2, budget=60 * BYTES)

    def record() -> None:
        with recorder:
            for _ in range(5):
                backward(model)
                optimizer.step()

    rows, keyframes, ahead, ends = (
        6,
        3,
        2,
        2,
    )  # three blocks, the next one, and the values at both ends
    peak(record, most=rows + keyframes + ahead + ends + 1, stays=rows + keyframes + ahead + ends)
    assert round(recorder.estimate(5).bytes / BYTES) in (5 + keyframes, 5 + keyframes + 1)
