"""What `fit` shows: nothing where output is redirected, a line an epoch on a terminal, and with
tqdm a bar inside of it.
"""

from __future__ import annotations

import io
import math
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from training_support import Act, Training, classifier, constant, descent, identity, towards

import minigrad as mg
from minigrad.errors import HookError


class Bar:
    """A stand-in for tqdm's bar: it writes down what is asked of it."""

    made: list[Bar]

    def __init__(self, **settings: Any) -> None:
        self.settings = settings
        self.steps = 0
        self.texts: list[str] = []
        self.closed = 0
        self.made.append(self)

    def set_postfix_str(self, text: str, refresh: bool) -> None:
        self.texts.append(text)
        assert not refresh

    def update(self) -> None:
        assert not self.closed
        self.steps += 1

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> list[Bar]:
    """The bars of a tqdm that is a stand-in."""
    tqdm: Any = ModuleType("tqdm")
    tqdm.tqdm = type("tqdm", (Bar,), {"made": []})
    monkeypatch.setitem(sys.modules, "tqdm", tqdm)
    made: list[Bar] = tqdm.tqdm.made
    return made


@pytest.fixture
def no_tqdm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)


class Terminal(io.StringIO):
    """A standard output that somebody is looking at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


def lines(capture: pytest.CaptureFixture[str] | Terminal) -> list[str]:
    """What was printed, with 0 for the seconds."""
    out, err = (capture.getvalue(), "") if isinstance(capture, Terminal) else capture.readouterr()
    assert "" == err
    return [re.sub(r"\(\d+\.\d+ s\)", "(0 s)", line) for line in out.splitlines()]


# -- where it is shown ---------------------------------------------------------------------------


def test_nothing_where_output_is_redirected(
    capsys: pytest.CaptureFixture[str], bars: list[Bar]
) -> None:
    """No line and no bar, by itself and with progress=False."""
    for progress in ({}, {"progress": "auto"}, {"progress": False}):
        descent().fit(2, **progress)
    assert ("", "") == capsys.readouterr()
    assert [] == bars


@pytest.mark.usefixtures("no_tqdm")
def test_redirected_output_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A line for what is before the first step, and one for each epoch, with all figures."""
    training = descent(3.0, steps=2)
    training.fit(
        2,
        progress=True,
        validation_data=towards(0.25),
        metrics={"m": lambda outputs, targets: 12345.678},
    )
    expected = [
        "loss 3.00",
        "epoch 1/2: loss 2.5000, m 1.235e+04, val_loss 0.7500, val_m 1.235e+04 (0 s)",
        "epoch 2/2: loss 0.5000, m 1.235e+04, val_loss 1.2500, val_m 1.235e+04 (0 s)",
    ]
    assert expected == lines(capsys)


def test_redirected_output_gets_no_bar(capsys: pytest.CaptureFixture[str], bars: list[Bar]) -> None:
    """A bar would fill a file with half-drawn lines; lines are shown."""
    descent(3.0).fit(progress=True)
    assert ["loss 3.00", "epoch 1/1: loss 3.0000 (0 s)"] == lines(capsys)
    assert [] == bars


@pytest.mark.usefixtures("no_tqdm")
def test_a_line_for_each_epoch_on_a_terminal_without_tqdm(terminal: Terminal) -> None:
    """By itself; numbers of epochs are as wide as the last one."""
    with redirect_stdout(terminal):
        descent(10.0).fit(10)
    shown = lines(terminal)
    assert 11 == len(shown)
    assert ["loss 10.00", "epoch  1/10: loss 10.0000 (0 s)", "epoch 10/10: loss 1.0000 (0 s)"] == [
        *shown[:2],
        shown[-1],
    ]


def test_silence_on_a_terminal(terminal: Terminal, bars: list[Bar]) -> None:
    """progress=False shows nothing, neither at the end that a hook asked for."""
    with redirect_stdout(terminal):
        descent().fit(3, progress=False, hooks=[Act(lambda event: event.stop("enough"), step=0)])
    assert [] == lines(terminal)
    assert [] == bars


def test_a_notebook_gets_lines(
    capsys: pytest.CaptureFixture[str], bars: list[Bar], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its output is no terminal, but somebody is looking."""
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    descent(3.0).fit()
    assert ["loss 3.00", "epoch 1/1: loss 3.0000 (0 s)"] == lines(capsys)
    assert [] == bars


def test_no_output_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without a console has no standard output."""
    monkeypatch.setattr(sys, "stdout", None)
    assert [3.0, 2.0] == descent(3.0).fit(2)["loss"]


# -- the bar -------------------------------------------------------------------------------------


def test_a_bar_for_each_epoch(terminal: Terminal, bars: list[Bar]) -> None:
    """It counts the steps and shows their loss, goes away, and a line stays.

    It is where the lines are.
    """
    with redirect_stdout(terminal):
        descent(6.0, steps=3).fit(2)
    assert [3, 3] == [bar.steps for bar in bars]
    assert [["loss 6", "loss 5", "loss 4"], ["loss 3", "loss 2", "loss 1"]] == [
        bar.texts for bar in bars
    ]
    assert [1, 1] == [bar.closed for bar in bars]
    expected = {"total": 3, "desc": "epoch 1/2", "leave": False, "unit": "step", "file": terminal}
    assert expected == bars[0].settings
    assert ["loss 6.00", "epoch 1/2: loss 5.0000 (0 s)", "epoch 2/2: loss 2.0000 (0 s)"] == lines(
        terminal
    )


def test_the_bar_goes_away_at_an_early_end(terminal: Terminal, bars: list[Bar]) -> None:
    """After the step that a hook ended, in the middle of an epoch; the reason is shown."""
    with redirect_stdout(terminal):
        descent(6.0, steps=3).fit(2, hooks=[Act(lambda event: event.stop("enough"), step=1)])
    assert [(2, 1)] == [(bar.steps, bar.closed) for bar in bars]
    assert ["loss 6.00", "stopped: enough"] == lines(terminal)


def test_the_bar_goes_away_after_an_exception(terminal: Terminal, bars: list[Bar]) -> None:
    """Whatever is printed then stands on a line of its own."""
    with redirect_stdout(terminal), pytest.raises(HookError):
        descent(6.0, steps=3).fit(2, hooks=[Act(lambda event: 1 / 0, step=1)])
    assert [(1, 1)] == [(bar.steps, bar.closed) for bar in bars]
    assert ["loss 6.00"] == lines(terminal)


def test_the_real_tqdm(terminal: Terminal, capsys: pytest.CaptureFixture[str]) -> None:
    """The bar is drawn on the terminal and wiped away; nothing goes to the standard error."""
    pytest.importorskip("tqdm")
    with redirect_stdout(terminal):
        descent(3.0, steps=2).fit()
    shown = terminal.getvalue()
    assert "epoch 1/1:   0%|" in shown
    *_, wiped, last = re.split(r"[\r\n]", shown.rstrip("\n"))
    assert ("", "epoch 1/1: loss 2.5000") == (wiped.strip(), last.split(" (")[0])
    assert "" == capsys.readouterr().err


# -- what guessing would give
# ----------------------------------------------------------------------------------------- The best
# outputs that are the same for every sample, each worked out on paper.


def opening(training: Training, capture: pytest.CaptureFixture[str]) -> str:
    """The first line that is shown."""
    training.fit(progress=True)
    return lines(capture)[0]


LABELS = np.array([0, 0, 0, 1])
ENTROPY = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))  # 0.56
SHARES = np.array([[0.5, 0.5], [1.0, 0.0], [1.0, 0.0], [0.5, 0.5]])  # on the mean 0.75 and 0.25

GUESSES: dict[str, tuple[mg.Loss, Any, Any, str]] = {
    "labels": (
        mg.SoftmaxCrossEntropy(),
        np.zeros((4, 2)),
        LABELS,
        "loss 0.69; always guessing the class shares gives 0.56",
    ),
    "unsigned labels": (
        mg.SoftmaxCrossEntropy(),
        np.zeros((4, 2)),
        LABELS.astype(np.uint64),
        "loss 0.69; always guessing the class shares gives 0.56",
    ),
    "a label that is ignored": (
        mg.SoftmaxCrossEntropy(ignore_index=-1),
        np.zeros((6, 2)),
        np.array([0, -1, 0, 0, -1, 1]),
        "loss 0.69; always guessing the class shares gives 0.56",
    ),
    "a class that never occurs": (
        mg.SoftmaxCrossEntropy(),
        np.zeros((4, 3)),
        LABELS,
        "loss 1.10; always guessing the class shares gives 0.56",  # log 3
    ),
    "rows of probabilities": (
        mg.SoftmaxCrossEntropy(),
        np.zeros((4, 2)),
        SHARES,
        "loss 0.69; always guessing the class shares gives 0.56",
    ),
    "a sum": (
        mg.SoftmaxCrossEntropy(reduction="sum"),
        np.zeros((4, 2)),
        LABELS,
        "loss 0.69; always guessing the class shares gives 0.56",  # of a sample
    ),
    "smoothed labels": (
        # a tenth is spread over three classes: shares of 0.9 0.75 + 0.1 / 3, 0.9 0.25 + 0.1 / 3 and
        # 0.1 / 3, and their entropy
        mg.SoftmaxCrossEntropy(label_smoothing=0.1),
        np.zeros((4, 3)),
        LABELS,
        "loss 1.10; always guessing the class shares gives 0.71",
    ),
    "weighted classes": (
        # three that count once and one that counts three times are as good as halves: log 2
        mg.SoftmaxCrossEntropy(class_weight=[1.0, 3.0]),
        np.full((4, 2), [2.0, 0.0]),
        LABELS,
        # (3 log(1 + e^-2) + 3 (2 + log(1 + e^-2))) / 6
        "loss 1.13; always guessing the class shares gives 0.69",
    ),
    "weighted yes": (
        # one yes of four that counts three times: log 2 for each of six, divided by four
        mg.SigmoidCrossEntropy(pos_weight=3.0),
        np.full((4, 1), -2.0),
        LABELS[:, np.newaxis],
        # (3 log(1 + e^-2) + 3 (2 + log(1 + e^-2))) / 4
        "loss 1.69; always guessing the shares gives 1.04",
    ),
    "always yes": (
        mg.SigmoidCrossEntropy(),
        np.zeros((4, 2)),
        np.array([[1, 0], [1, 0], [1, 0], [1, 1]], np.float32),
        # nothing for the first column, 0.56 for the second
        "loss 0.69; always guessing the shares gives 0.28",
    ),
    "yes and no": (
        mg.SigmoidCrossEntropy(),
        np.zeros((4, 1)),
        LABELS[:, np.newaxis],
        "loss 0.69; always guessing the shares gives 0.56",
    ),
    "squares": (
        mg.MeanSquaredError(),
        np.zeros((4, 1)),
        [[1.0], [2.0], [3.0], [6.0]],  # the squares of 1, 2, 3, 6; and of -2, -1, 0, 3
        "loss 12.50; always guessing the mean gives 3.50",
    ),
    "distances": (
        mg.MeanAbsoluteError(),
        np.zeros((4, 2)),
        [[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [6.0, 0.0]],  # from the median 2.5: 1.5, 0.5, 0.5, 3.5
        "loss 1.50; always guessing the median gives 0.75",
    ),
    "Huber": (
        mg.Huber(),
        np.zeros((3, 1)),
        [[1.0], [1.5], [101.5]],  # from 0: 0.5, 1, 101; from 1.5: 0.125, 0, 99.5
        "loss 34.17; always guessing the median gives 33.21",
    ),
}


@pytest.mark.parametrize("name", GUESSES)
def test_what_guessing_would_give(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The loss before the first step, and that of the best outputs that are the same for every
    sample.
    """
    loss, outputs, targets, expected = GUESSES[name]
    assert expected == opening(constant(loss, outputs, targets, 2), capsys)


def test_the_numbers_of_the_guesses() -> None:
    """What the lines above round: entropies, and what they are compared with."""
    smoothed = [0.9 * 0.75 + 0.1 / 3, 0.9 * 0.25 + 0.1 / 3, 0.1 / 3]
    three = 3 * math.log1p(math.exp(-2)) + 3 * (2 + math.log1p(math.exp(-2)))
    numbers = {
        "0.56": ENTROPY,
        "0.28": ENTROPY / 2,
        "0.69": math.log(2),
        "1.10": math.log(3),
        "0.71": -sum(share * math.log(share) for share in smoothed),
        "1.13": three / 6,
        "1.69": three / 4,
        "1.04": 6 * math.log(2) / 4,
    }
    assert [*numbers] == [f"{number:.2f}" for number in numbers.values()]


def test_the_opening_is_in_eval_mode_and_leaves_no_trace(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Dropout of everything would make the loss log 3; the training is the same as without it."""
    silent, shown = classifier(), classifier()
    silent.fit(2)
    shown.fit(2, progress=True)
    assert silent.bits() == shown.bits()
    model = mg.Sequential(identity(3), mg.Dropout(1.0, rng=0))
    outputs = np.eye(3) * 9
    training = Training(
        model,
        mg.SoftmaxCrossEntropy(),
        mg.SGD(model, 0.1),
        mg.Batches(outputs, [0, 1, 2], 3, rng=0),
    )
    capsys.readouterr()
    assert "loss 0.000247; always guessing the class shares gives 1.10" == opening(training, capsys)


def test_of_large_data_a_sample_is_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    """Evenly spread over it: with classes in order, the shares are still those of all."""
    labels = np.arange(40_000) // 20_000
    training = constant(mg.SoftmaxCrossEntropy(), np.zeros((40_000, 2)), labels, 40_000)
    assert "loss 0.69; always guessing the class shares gives 0.69" == opening(training, capsys)


def test_large_and_small_losses_keep_their_digits(capsys: pytest.CaptureFixture[str]) -> None:
    """Where two decimals would say nothing, or too much."""
    assert "loss 1.23e+04" == opening(descent(12345.6), capsys)
    assert "loss 0.00123" == opening(descent(0.0012345), capsys)


def test_nothing_to_train_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Zero epochs need no opening."""
    descent().fit(0, progress=True)
    assert ("", "") == capsys.readouterr()


def test_going_on_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From which step, and in which epoch."""
    descent(9.0, steps=2).fit(2, hooks=[mg.Checkpoint(tmp_path / "a.npz")])
    descent(9.0, steps=2).fit(3, resume_from=tmp_path / "a.npz", progress=True)
    expected = ["going on after 4 steps, in epoch 3", "loss 5.00", "epoch 3/3: loss 4.5000 (0 s)"]
    assert expected == lines(capsys)
