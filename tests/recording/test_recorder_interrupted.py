"""Ctrl-C, or no memory left, at any line of the recorder's own code: the record holds the truth of
what came before, can be gone on with, and the training does not notice.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from disk_support import EVERYTHING
from interrupt_support import STEPS, Interrupter, Training, check, truth

import minigrad as mg

pytestmark = [
    # True where an interrupt came after the backward, and no subject of these tests.
    pytest.mark.filterwarnings("ignore::minigrad.errors.GradientOverwritten"),
    # An interrupt may come between opening a file and remembering it: Python closes that one.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SETTINGS: dict[str, dict[str, Any]] = {
    "rows": {"keyframe_every": 3},
    "counts alone": {"keep": ()},
    "thinned": {"keyframe_every": 2, "budget": 8 * 39 * 4},
    "every third": {"every": 3, "keyframe_every": 2, "keep": ("update", "grad")},
    "coactivation": {"coactivation": True},
}
ERRORS: list[type[BaseException]] = [KeyboardInterrupt, MemoryError]


@pytest.fixture(autouse=True)
def closed_files() -> Iterator[None]:
    """Files are closed while these tests run, not in others."""
    yield
    gc.collect()


def interrupted(training: Training, interrupter: Interrupter) -> bool:
    """Record until the interrupt, and leave; whether there was one."""
    try:
        with interrupter.watching(), training.recorder:
            training.steps(STEPS, lambda action: action())
    except interrupter.error:
        pass
    except mg.errors.HookError as error:  # what a hook raises that is told of a step
        if not isinstance(error.__cause__, interrupter.error):
            raise
    else:
        # What memory was missing for may have been done again.
        hidden = interrupter.has_struck and interrupter.error is KeyboardInterrupt
        assert not hidden, f"{interrupter.where} hid it"
    return interrupter.has_struck


def goes_on(training: Training, interrupter: Interrupter) -> bool:
    """Record, and do again what was interrupted; whether there was an interrupt."""

    def again(action: Callable[[], Any]) -> None:
        while True:
            try:
                action()
                break
            except (interrupter.error, mg.errors.HookError):
                assert interrupter.has_struck

    with interrupter.watching():
        again(training.recorder.start)
        training.steps(STEPS, again)
        again(training.recorder.stop)
    return interrupter.has_struck


def lines(stride: int, start: int) -> Any:
    """Which lines to interrupt, one training each."""
    return range(1 + 337 * start % stride, 10**6, min(stride, 211) if EVERYTHING else stride)


@sparse(
    pytest.mark.parametrize("settings", SETTINGS),
    pytest.mark.parametrize("error", ERRORS),
    pytest.mark.parametrize("stride", [701, slow(401)]),
)
def test_what_was_recorded_in_memory_stays_true(
    settings: str, error: type[BaseException], stride: int
) -> None:
    """Whoever is interrupted at any line has the record of the steps before."""
    for line in lines(stride, len(settings) + len(error.__name__)):
        training = Training(None, SETTINGS[settings], normed=True)
        interrupter = Interrupter(line, error)
        if not interrupted(training, interrupter):
            break
        training.recorder.stop()
        if training.optimizer.step_count:
            check(training.recorder.run, normed=True)
            assert training.optimizer.step_count - len(training.recorder.run.steps) in (0, 1)


@sparse(
    pytest.mark.parametrize("settings", SETTINGS),
    pytest.mark.parametrize("error", ERRORS),
    pytest.mark.parametrize("stride", [2003, slow(997)]),
)
def test_what_was_recorded_on_disk_stays_true_and_goes_on(
    settings: str, error: type[BaseException], stride: int, tmp_path: Path
) -> None:
    """The directory is a run, or as good as new, and a new recorder goes on with it to the end."""
    for line in lines(stride, len(settings) + len(error.__name__)):
        path = tmp_path / f"{line}"
        training = Training(path, SETTINGS[settings], normed=True)
        interrupter = Interrupter(line, error)
        if not interrupted(training, interrupter):
            break
        if line % 2:
            training.recorder.stop()
        made = training.optimizer.step_count
        del training
        gc.collect()  # the lock of a recorder that nobody has is free
        recorded, resume = 0, (path / "run.json").exists()
        if resume:
            run = mg.Run.open(path)
            recorded = len(run.steps)
            check(run, normed=True)
        assert made - recorded in (0, 1)
        training = Training(path, SETTINGS[settings], normed=True, after=recorded, resume=resume)
        with training.recorder:
            training.steps(STEPS - recorded, lambda action: action())
        run = mg.Run.open(path)
        assert tuple(range(STEPS)) == run.steps
        check(run, normed=True)


@sparse(
    pytest.mark.parametrize("settings", SETTINGS),
    pytest.mark.parametrize("on_disk", [False, True]),
    pytest.mark.parametrize("error", ERRORS),
    pytest.mark.parametrize("stride", [1501, slow(997)]),
)
def test_a_training_that_goes_on_has_the_bits_of_an_undisturbed_one(
    settings: str, error: type[BaseException], on_disk: bool, stride: int, tmp_path: Path
) -> None:
    """Its record lacks no more than the step in which it was interrupted, and says so."""
    for line in lines(stride, len(settings) + len(error.__name__)):
        path = tmp_path / f"{line}" if on_disk else None
        training = Training(path, SETTINGS[settings], normed=False)
        interrupter = Interrupter(line, error)
        if not goes_on(training, interrupter):
            break
        for name, array in training.model.state_dict().items():
            assert np.array_equal(truth(False)[-1].state[name], array), interrupter.where
        run = mg.Run.open(path) if path else training.recorder.run
        assert run.complete
        assert STEPS - len(run.steps) in (0, 1)
        check(run, normed=False, gaps=True)
