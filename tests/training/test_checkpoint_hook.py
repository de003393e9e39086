"""`Checkpoint`: which files it writes, when, and what is in them.

In these trainings w goes down by 1 with each step.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from training_support import Act, Training, classifier, constant, descent, towards, weight

import minigrad as mg
from minigrad.errors import DataFileError, KindError, RangeError, UnknownNameError


def weights(directory: Path) -> dict[str, float]:
    """All files of a directory, and the weight in each; each must be whole."""
    found = {}
    for path in sorted(directory.iterdir()):
        training = descent(0.0)
        mg.load(path, model=training.model, optimizer=training.optimizer)
        found[path.name] = weight(training.model)
    return found


# -- which files ---------------------------------------------------------------------------------


def test_the_newest(tmp_path: Path) -> None:
    """One file, that of the last epoch; its directory holds nothing else."""
    hook = mg.Checkpoint(tmp_path / "a.npz")
    descent(9.0, steps=2).fit(3, hooks=[hook])
    assert {"a.npz": 3.0} == weights(tmp_path)
    assert (tmp_path / "a.npz", None) == (hook.path, hook.best_path)


@pytest.mark.parametrize("keep", [slow(1), 2, slow(3), 5])
def test_those_before_it(keep: int, tmp_path: Path) -> None:
    """With `keep`, so many in all, numbered by their age; of fewer epochs fewer."""
    descent(9.0).fit(4, hooks=[mg.Checkpoint(tmp_path / "a.npz", keep=keep)])
    every = {"a.npz": 5.0, "a-1.npz": 6.0, "a-2.npz": 7.0, "a-3.npz": 8.0}
    assert dict([*every.items()][:keep]) == weights(tmp_path)


def test_after_so_many_steps(tmp_path: Path) -> None:
    """Steps 2, 4, 6 of seven, counted from the first; and one of the end."""
    there: list[dict[str, float]] = []
    notes = [Act(lambda event: there.append(weights(tmp_path)), step=step) for step in (1, 2, 4)]
    descent(9.0, steps=7).fit(hooks=[mg.Checkpoint(tmp_path / "a.npz", every=2, keep=2), *notes])
    assert [
        {},
        {"a.npz": 7.0},
        {"a-1.npz": 7.0, "a.npz": 5.0},
    ] == there  # a hook is told before the step's is written
    assert {"a-1.npz": 3.0, "a.npz": 2.0} == weights(tmp_path)


def test_steps_are_those_of_the_optimizer(tmp_path: Path) -> None:
    """They count on from one `fit` to the next: of steps 3 to 5, the one at 4, and the end."""
    training = descent(9.0, steps=3)
    training.fit()
    training.fit(hooks=[mg.Checkpoint(tmp_path / "a.npz", every=4, keep=3)])
    assert {"a.npz": 3.0, "a-1.npz": 5.0} == weights(tmp_path)


def test_the_best(tmp_path: Path) -> None:
    """Beside the newest, that of the epoch with the least |w - 6|: it stays when worse ones
    follow.
    """
    hook = mg.Checkpoint(tmp_path / "a.npz", monitor="val_loss")
    descent(9.0).fit(5, hooks=[hook], validation_data=towards(6.0))
    assert {"a.npz": 4.0, "a-best.npz": 6.0} == weights(tmp_path)
    assert tmp_path / "a-best.npz" == hook.best_path


@pytest.mark.parametrize(("mode", "best"), [("min", 5.0), ("max", 7.0)])
def test_what_the_best_is(mode: Any, best: float, tmp_path: Path) -> None:
    """The least or the largest; of equals the first; NaN is none."""
    told = iter([0.0, 2.0, 3.0, 3.0, 1.0, np.nan])
    hook = mg.Checkpoint(tmp_path / "a.npz", monitor="figure", mode=mode)
    descent(9.0).fit(5, hooks=[hook], metrics={"figure": lambda outputs, targets: next(told)})
    assert {"a.npz": 4.0, "a-best.npz": best} == weights(tmp_path)


def test_the_best_where_checkpoints_are_rare(tmp_path: Path) -> None:
    """That of an epoch is kept all the same."""
    hook = mg.Checkpoint(tmp_path / "a.npz", every=100, monitor="val_loss")
    descent(9.0, steps=2).fit(3, hooks=[hook], validation_data=towards(5.0))
    assert {"a.npz": 3.0, "a-best.npz": 5.0} == weights(tmp_path)


def test_the_best_of_a_training_that_goes_on(tmp_path: Path) -> None:
    """A worse epoch of the second part does not replace the best of the first.

    Of another training, it does.
    """
    for resume, best in ((True, 6.0), (False, 2.0)):
        path = tmp_path / str(resume) / "a.npz"
        path.parent.mkdir()
        hook = mg.Checkpoint(path, monitor="val_loss")
        descent(9.0).fit(4, hooks=[hook], validation_data=towards(6.0))
        settings = {"resume_from": path} if resume else {}
        descent(3.0).fit(5 if resume else 2, hooks=[hook], validation_data=towards(6.0), **settings)
        assert best == weights(path.parent)["a-best.npz"]


@pytest.mark.parametrize("name", ["a", "a.b.npz", "Zahlen ä.npz"])
def test_names_of_files(name: str, tmp_path: Path) -> None:
    """What is added comes before the ending; a name without one is used as it is."""
    descent(9.0).fit(2, hooks=[mg.Checkpoint(str(tmp_path / name), keep=2, monitor="loss")])
    stem, dot, ending = name.rpartition(".")
    stem, dot, ending = (stem, dot, ending) if dot else (name, "", "")
    expected = {name: 7.0, f"{stem}-1{dot}{ending}": 8.0, f"{stem}-best{dot}{ending}": 7.0}
    assert expected == weights(tmp_path)


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is that of the moment when it was given, wherever the program goes then."""
    monkeypatch.chdir(tmp_path)
    hook = mg.Checkpoint("a.npz")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    descent(9.0).fit(hooks=[hook])
    assert ["a.npz", "elsewhere"] == sorted(path.name for path in tmp_path.iterdir())


# -- when ----------------------------------------------------------------------------------------


def test_one_of_the_end(tmp_path: Path) -> None:
    """Where a hook ends the training in the middle of an epoch."""
    stop = Act(lambda event: event.stop("now"), step=3)
    descent(9.0, steps=3).fit(5, hooks=[stop, mg.Checkpoint(tmp_path / "a.npz", keep=2)])
    assert {"a.npz": 5.0, "a-1.npz": 6.0} == weights(tmp_path)


def test_nothing_twice(tmp_path: Path) -> None:
    """The end of the last epoch is one checkpoint, not two.

    And a training that does nothing writes none.
    """
    path = tmp_path / "a.npz"
    descent(9.0, steps=2).fit(2, hooks=[mg.Checkpoint(path, keep=9)])
    assert {"a.npz": 5.0, "a-1.npz": 7.0} == weights(tmp_path)
    before = sorted(tmp_path.iterdir())
    descent(9.0, steps=2).fit(2, hooks=[mg.Checkpoint(path, keep=9)], resume_from=path)
    descent(9.0, steps=2).fit(0, hooks=[mg.Checkpoint(tmp_path / "b.npz")])
    assert before == sorted(tmp_path.iterdir())


def test_it_holds_what_all_hooks_have_seen(tmp_path: Path) -> None:
    """It is written once all were told, also those after it: the rate that one lowered in this
    epoch is in it.
    """
    training = descent(6.0)
    plateau = mg.ReduceOnPlateau(training.optimizer, monitor="val_loss", patience=0, factor=0.5)
    training.fit(
        4, hooks=[mg.Checkpoint(tmp_path / "a.npz"), plateau], validation_data=towards(3.0)
    )
    other = descent(0.0)
    again = mg.ReduceOnPlateau(other.optimizer, monitor="val_loss", patience=0, factor=0.5)
    mg.load(tmp_path / "a.npz", optimizer=other.optimizer, hooks=[again])
    assert (0.5, 0.0) == (other.optimizer.lr, again.best)


# -- where it cannot be written ------------------------------------------------------------------


class Disk:
    """A disk that is full for some checkpoints, or fails in the middle of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full: Callable[[], bool] = lambda: False
        write = np.lib.format.write_array

        def limited(file: Any, array: Any, **settings: Any) -> None:
            write(file, array, **settings)
            if self.full():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(np.lib.format, "write_array", limited)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_full_disk(disk: Disk, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is a warning in the log, the training goes on, the file before stays whole, and nothing
    half lies about.
    """
    training, straight = descent(9.0), descent(9.0)
    disk.full = lambda: training.optimizer.step_count == 2
    seen: list[dict[str, float]] = []
    look = [Act(lambda event: seen.append(weights(tmp_path)), step=step) for step in (1, 2, 3)]
    history = training.fit(3, hooks=[mg.Checkpoint(tmp_path / "a.npz"), *look[:2]])
    assert [{"a.npz": 8.0}, {"a.npz": 8.0}] == seen
    assert {"a.npz": 6.0} == weights(tmp_path)
    assert dict(straight.fit(3)) == dict(history)
    assert straight.bits() == training.bits()
    (record,) = caplog.records
    assert (logging.WARNING, "minigrad") == (record.levelno, record.name)
    told = f"the checkpoint '{tmp_path / 'a.npz'}' cannot be written: {os.strerror(errno.ENOSPC)}; "
    assert told == record.getMessage().split("give a file")[0]
    assert record.getMessage().endswith("; the training goes on")


def test_a_full_disk_costs_no_older_one(disk: Disk, tmp_path: Path) -> None:
    """However often it fails, the newest has two names at most, and the one before it stays."""
    training = descent(9.0)
    disk.full = lambda: 3 <= training.optimizer.step_count <= 5
    hook = mg.Checkpoint(tmp_path / "a.npz", keep=3)
    training.fit(5, hooks=[hook])
    assert {"a.npz": 7.0, "a-1.npz": 7.0, "a-2.npz": 8.0} == weights(tmp_path)
    training.fit(2, hooks=[hook])
    assert {"a.npz": 2.0, "a-1.npz": 3.0, "a-2.npz": 7.0} == weights(tmp_path)


def test_a_directory_that_goes_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each checkpoint is a warning; the training reaches its end."""
    directory = tmp_path / "there"
    directory.mkdir()
    history = descent(9.0).fit(
        3, hooks=[mg.Checkpoint(directory / "a.npz"), Act(lambda event: directory.rmdir(), step=0)]
    )
    assert [9.0, 8.0, 7.0] == history["loss"]
    assert len(caplog.records) >= 3
    assert all(record.getMessage().endswith("; the training goes on") for record in caplog.records)


def test_it_is_whole_while_the_next_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each change of a name, the files that are there can be read, and the newest has its name
    from the first on.
    """
    seen: list[dict[str, float]] = []
    replace = Path.replace

    def watched(self: Path, target: Path) -> Path:
        before = {
            path.name: path.read_bytes() for path in tmp_path.iterdir() if path.suffix == ".npz"
        }
        result = replace(self, target)
        copies = tmp_path.parent / f"copies-{len(seen)}"
        copies.mkdir()
        for name, content in before.items():
            (copies / name).write_bytes(content)
        seen.append(weights(copies))
        return result

    monkeypatch.setattr(Path, "replace", watched)
    descent(9.0).fit(3, hooks=[mg.Checkpoint(tmp_path / "a.npz", keep=2)])
    expected = [
        {},
        {"a.npz": 8.0},
        {"a.npz": 8.0, "a-1.npz": 8.0},
        {"a.npz": 7.0, "a-1.npz": 8.0},
        {"a.npz": 7.0, "a-1.npz": 7.0},
    ]
    assert expected == seen


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then older ones are copies."""

    def refuse(self: Path, target: Path) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    descent(9.0).fit(3, hooks=[mg.Checkpoint(tmp_path / "a.npz", keep=2, monitor="loss")])
    assert {"a.npz": 6.0, "a-1.npz": 7.0, "a-best.npz": 6.0} == weights(tmp_path)


# -- going on ------------------------------------------------------------------------------------


@sparse(pytest.mark.parametrize("every", ["epoch", 1, 3]), every=3)
def test_going_on_is_as_never_stopping(every: Any, tmp_path: Path) -> None:
    """Stopped in the middle of the second of four epochs, and built anew: the same bits, the same
    history.
    """
    path = tmp_path / "a.npz"
    straight, first, second = classifier(), classifier(), classifier()
    history = straight.fit(4)
    stop = Act(lambda event: event.stop("now"), step=7)
    stopped = first.fit(4, hooks=[mg.Checkpoint(path, every=every), stop])
    assert {name: figures[:1] for name, figures in history.items()} == dict(stopped)
    resumed = second.fit(4, hooks=[mg.Checkpoint(path, every=every)], resume_from=path)
    assert dict(history) == dict(resumed)
    assert straight.bits() == second.bits()


def test_figures_go_on_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """Their sums are in the file: r2, the error, and a function's mean over batches of 3, 3 and 1
    are those of all samples.
    """
    outputs, targets = (
        np.array([[1.0], [3.0], [2.0], [7.0], [5.0], [4.0], [9.0]]),
        np.arange(7.0)[:, np.newaxis],
    )
    metrics = {
        "r2": "r2",
        "error": "mean_absolute_error",
        "most": lambda outputs, targets: outputs.max(),
    }
    path = tmp_path / "a.npz"
    for step, resume in ((0, None), (1, path), (9, path)):
        training = constant(mg.MeanSquaredError(), outputs, targets, 3, shuffle=False)
        stop = Act(lambda event: event.stop("now"), step=step)
        history = training.fit(
            metrics=metrics, hooks=[mg.Checkpoint(path), stop], resume_from=resume
        )
    squares, spread = ((outputs - targets) ** 2).sum(), ((targets - 3) ** 2).sum()
    expected = [
        squares / 7,
        1 - squares / spread,
        np.abs(outputs - targets).mean(),
        (3 * 3 + 7 * 3 + 9) / 7,
    ]
    np.testing.assert_allclose(
        [history[name][0] for name in ("loss", *metrics)], expected, rtol=1e-14
    )


# -- settings ------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"path": 5}, KindError, "the path of a Checkpoint is 5, expected a path"),
    ({"every": "step"}, RangeError, "every is 'step', expected 'epoch' or a number of steps"),
    ({"every": 0}, RangeError, "every is 0, expected a whole number, 1 or more"),
    ({"every": 0.5}, KindError, "every is 0.5, expected a whole number, 1 or more"),
    ({"keep": 0}, RangeError, "keep is 0, expected a whole number, 1 or more"),
    ({"keep": "all"}, KindError, "keep is 'all', expected a whole number, 1 or more"),
    ({"monitor": 1}, KindError, "monitor is 1, expected the name of a figure, such as 'val_loss'"),
    ({"monitor": "top3"}, RangeError, "whether less or more of 'top3' is better is not known"),
    (
        {"monitor": "loss", "mode": "less"},
        RangeError,
        "mode is 'less', expected 'min', 'max' or 'auto'",
    ),
]


@pytest.mark.parametrize(
    ("settings", "error", "told"), WRONG, ids=[str(settings) for settings, _, _ in WRONG]
)
def test_wrong_settings(settings: dict[str, Any], error: type[Exception], told: str) -> None:
    """Refused where they are given, in a sentence."""
    with pytest.raises(error) as caught:
        mg.Checkpoint(**{"path": "a.npz", **settings})
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("name", ["no/a.npz", "."])
def test_a_place_that_cannot_be(name: str, tmp_path: Path) -> None:
    """It is told before the first step, not after the first epoch."""
    training: Training = descent(9.0)
    with pytest.raises(
        DataFileError, match="cannot be written; give a file in a directory that exists"
    ):
        training.fit(hooks=[mg.Checkpoint(tmp_path / name)])
    assert 9.0 == weight(training.model)


def test_a_figure_that_there_is_not(tmp_path: Path) -> None:
    """It says which there are, before the first step."""
    training = descent(9.0)
    with pytest.raises(
        UnknownNameError,
        match=r"Checkpoint monitors 'val_loss', but the epochs have only loss \(there is no",
    ):
        training.fit(hooks=[mg.Checkpoint(tmp_path / "a.npz", monitor="val_loss")])
    assert 9.0 == weight(training.model)
    assert [] == [*tmp_path.iterdir()]
