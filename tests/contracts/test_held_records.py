"""Promise 4 at length: an array of `fit` or of a record never changes, and may be written into."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from contract_table import FloatType, bits, chain, dtypes, in_bits, modern
from held_support import AnyArray, Hand, Held, Witness, check, data_of, leave, spoil, train
from hook_support import Tape
from loop_support import take_step

import minigrad as mg
from minigrad.arrays import Array

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
        if {mg.Reason.UNKNOWN} != set(history.why.counts):  # as it is without counts
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
            (pytest.param if name == "ring" else slow)(settings, False, id=f"{name}, in memory")
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
                    take_step(model, loss, optimizer, batch, labels)
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
