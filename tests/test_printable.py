"""Names may hold anything; what is shown of them does nothing to a terminal, file or browser."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad._printable import printable
from minigrad.errors import DataFileError, HookError, MinigradError, UnknownNameError
from minigrad.runs import Why
from minigrad.runs.run_json import checksum_of_json
from minigrad.runs.verification import Verification

HOSTILE = "a\x1b[31mred\r\n\t\x07\x85\u2028\u202e</script><b>&\"'"
"""ESC, line breaks of four kinds, a bell, a mark that turns the direction, and HTML."""

FORGED = f"\0\udc80{HOSTILE}"
"""A name that no model may have, but a file that others wrote may."""

X = np.random.default_rng(0).random((40, 6)).astype(np.float32)
X[:, 3] = 0
Y = np.arange(40) % 3


def shown(text: object) -> str:
    """The text, which is made sure to hold nothing that does not print, but for its own lines."""
    whole = str(text)
    assert [] == [one for one in whole if not one.isprintable() and one != "\n"], repr(whole)
    assert "\n[31m" not in whole
    whole.encode()
    return whole


def model_of(name: str) -> mg.Sequential:
    layers: dict[str, mg.Layer] = {
        name: mg.Dense(6, 4, rng=0),
        f"act{name}": mg.Activation("relu"),
        "out": mg.Dense(4, 3, rng=1),
    }
    return mg.Sequential(**layers)


def recorded(
    name: str, make: Callable[..., mg.Optimizer] = mg.SGD, **settings: Any
) -> tuple[mg.Sequential, mg.Recorder]:
    """A short training into which somebody else writes."""
    model, loss = model_of(name), mg.SoftmaxCrossEntropy()
    optimizer = make(model, 0.1)
    with warnings.catch_warnings(), mg.Recorder(optimizer, loss=loss, **settings) as recorder:
        warnings.simplefilter("ignore")
        for _ in range(4):
            loss.forward(model(X), Y)
            model.backward(loss.backward())
            optimizer.step()
            model[0].weight.value[0, 0] += 1
    return model, recorder


def forged(folder: Path) -> mg.Run:
    """A record of others with the right checksum, whose every text is hostile."""
    recorded("first", path=folder)

    def replaced(thing: Any) -> Any:
        if isinstance(thing, dict):
            return {key: replaced(inner) for key, inner in thing.items()}
        if isinstance(thing, list):
            return [replaced(inner) for inner in thing]
        return thing.replace("first", FORGED) if isinstance(thing, str) else thing

    file = folder / "run.json"
    about = replaced(json.loads(file.read_text("utf-8")))
    about["optimizer"] = f"{FORGED}(lr=0.1, {FORGED}, 43 entries)"
    about["notes"] += [FORGED, f"before step 2 {FORGED}.weight changed by {FORGED}"]
    about["gaps"] = [[0, 1, FORGED]]
    about["crc32"] = checksum_of_json(about)
    file.write_text(json.dumps(about), "utf-8")
    return mg.Run.open(folder)


def texts_of(run: mg.Run) -> Iterator[object]:
    """All that a run says."""
    yield from (run, repr(run), run.report(), run._repr_html_(), run.optimizer, run.verify())
    yield from (*run.notes, *(gap.why for gap in run.gaps))
    for name in run:
        history = run[name]
        yield from (repr(history), history._repr_html_(), history.why, history.why._repr_html_())
        yield from (history.why.movers, history.why.unexplained)
        yield from (history.why.at(*index) for index in np.ndindex(*history.shape))


# -- the function --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.weight, größer ≥ 1, 重み, 🙂", "0.weight, größer ≥ 1, 重み, 🙂"),
        ("", ""),
        ("a\\nb", "a\\nb"),
        ("a\nb\r\t", r"a\nb\r\t"),
        ("\x1b[2J\x9b", r"\x1b[2J\x9b"),
        ("\0\x07\x7f\x85", r"\x00\x07\x7f\x85"),
        ("\u2028\u202e\u2066", r"\u2028\u202e\u2066"),
        ("\udc80", r"\udc80"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, expected: str) -> None:
    """As `repr` does it, but for quotes and backslashes; doing it twice changes nothing."""
    assert expected == printable(text)
    assert expected == printable(printable(text))


# -- what is shown -------------------------------------------------------------------------------


def test_models() -> None:
    """A model, its parts and its optimizer show no name as it is."""
    model, recorder = recorded(HOSTILE)
    assert r"a\x1b[31mred\r\n\t" in shown(repr(model))
    assert r"a\x1b[31mred\r\n\t" in shown(model.summary())
    for _, parameter in model.parameters():
        shown(repr(parameter))
        shown(parameter._repr_html_())
    shown(mg.ParameterVector.of(model))
    shown(repr(recorder))
    shown(repr(type(HOSTILE, (mg.SGD,), {})(model, 0.1)))
    assert len(model) + 3 == len(model.summary().splitlines()) + 1


def test_events() -> None:
    """What hooks are given shows no name as it is."""

    class Looks(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            assert r"\x1b" in shown(repr(event.updates))
            shown(repr(event))

        def on_forward(self, event: mg.Forward) -> None:
            shown(repr(event))

        def on_backward(self, event: mg.Backward) -> None:
            shown(repr(event))

    model, loss = model_of(HOSTILE), mg.SoftmaxCrossEntropy()
    model[0].freeze()
    optimizer = mg.SGD(model, 0.1)
    optimizer.attach(Looks())
    model.attach(Looks())
    loss.forward(model(X), Y)
    model.backward(loss.backward())
    optimizer.step()


def test_a_layer_of_ones_own() -> None:
    """Its attributes and its class may be called anything, too."""

    class Own(mg.Layer):
        def __init__(self) -> None:
            setattr(self, HOSTILE, mg.Parameter(np.ones(3)))
            self.more = {HOSTILE: mg.Dense(3, 2, rng=0)}

        def forward(self, x: Any) -> Any:
            return x

        def backward(self, grad: Any) -> Any:
            return grad

    Own.__name__ = HOSTILE
    assert r"\x1b" in shown(repr(Own()))
    shown(Own().summary())


def test_runs(tmp_path: Path) -> None:
    """A record in memory, on disk, and its report in text and in HTML."""
    own = type(HOSTILE, (mg.SGD,), {})  # an optimizer of one's own, which reasons may name
    for run in (recorded(HOSTILE, own)[1].run, recorded(HOSTILE, path=tmp_path / "run")[1].run):
        assert f"{HOSTILE}.weight" == run.names[0]
        assert r"a\x1b[31mred\r\n\t" in "".join(map(shown, texts_of(run)))
        shown(run[run.names[0]].picture())
        run.save_report(tmp_path / "run.html")
        assert r"a\x1b[31mred\r\n\t" in shown((tmp_path / "run.html").read_bytes().decode())


def test_runs_that_others_wrote(tmp_path: Path) -> None:
    """They may hold names that no model may have; reading and showing them is safe."""
    run = forged(tmp_path / "run")
    assert f"{FORGED}.weight" == run.names[0]
    assert r"\x00\udc80a\x1b" in "".join(map(shown, texts_of(run)))
    run.save_report(tmp_path / "run.html")
    assert r"\x00\udc80a\x1b" in shown((tmp_path / "run.html").read_bytes().decode())
    with pytest.raises(MinigradError) as caught:
        run.restore(model_of("first"))
    assert r"\udc80" in shown(caught.value)


def test_what_replaying_finds() -> None:
    """A verification names the parameter that differs."""
    assert r"\x1b" in shown(Verification(1, 0, 1, (0, FORGED, (0,))))


def test_what_reasons_say() -> None:
    """Whatever a record says of an optimizer, of a layer, or of an entry."""
    why = Why(
        FORGED, np.zeros(2, np.uint8), lambda index, reason: FORGED,
        unexplained=FORGED, movers=FORGED, remarks=[FORGED],
    )  # fmt: skip
    for text in (why, why.movers, why.unexplained, why.at(0), why._repr_html_()):
        assert r"\x00\udc80a\x1b" in shown(text)


def test_the_reasons_do_not_depend_on_names() -> None:
    """Who wrote into which parameter is found in the notes, whatever the parameters are called."""

    def written(name: str) -> list[str]:
        run = recorded(name)[1].run
        return [run[each].why.movers for each in run]

    for name in (HOSTILE, "a, b", "x changed y", "something of z", "(.*"):
        assert written("plain") == written(name), name


ERRORS: dict[str, Callable[[mg.Sequential, Path], object]] = {
    "a shape": lambda model, folder: model(np.ones((2, 5))),
    "no such layer": lambda model, folder: model["none"],
    "a state": lambda model, folder: model.load_state_dict({f"x{FORGED}": np.ones(2)}),
    "a pattern": lambda model, folder: mg.SGD(model, {f"{FORGED}*": 0.1}),
    "a directory": lambda model, folder: mg.Run.open(folder / HOSTILE),
    "a file": lambda model, folder: mg.save(folder / f"{HOSTILE}\udc80" / "x", model=model),
    "a file with NUL": lambda model, folder: mg.load(str(folder / "a\0b"), model=model),
    "a layer that is none": lambda model, folder: mg.Sequential(**{HOSTILE: 3}),  # type: ignore[arg-type]
    "a layer twice": lambda model, folder: mg.Sequential(**{HOSTILE: model, "b": model}),
    "a figure": lambda model, folder: mg.History({HOSTILE: [1.0]})["none"],
    "an activation": lambda model, folder: mg.Activation(HOSTILE),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case: str, tmp_path: Path) -> None:
    """A message is one line that can be printed, whatever it names."""
    with pytest.raises(MinigradError) as caught:
        ERRORS[case](model_of(HOSTILE), tmp_path)
    assert "\n" not in shown(caught.value)


def test_an_error_in_a_hook() -> None:
    """The hook's class and what it raised may say anything."""

    class Fails(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            raise ValueError(HOSTILE)

    Fails.__name__ = Fails.__qualname__ = HOSTILE
    model = model_of("a")
    optimizer, loss = mg.SGD(model, 0.1), mg.SoftmaxCrossEntropy()
    optimizer.attach(Fails())
    loss.forward(model(X), Y)
    model.backward(loss.backward())
    with pytest.raises(HookError) as caught:
        optimizer.step()
    assert "\n" not in shown(caught.value)


def test_errors_keep_what_they_were_given() -> None:
    """Only their text is escaped."""
    assert (HOSTILE,) == DataFileError(HOSTILE).args
    assert printable(HOSTILE) == str(DataFileError(HOSTILE))
    assert "no 'x'" == str(UnknownNameError("no 'x'"))
    assert "" == str(MinigradError())


def test_warnings() -> None:
    """A warning is one line, too."""
    model, loss = model_of(HOSTILE), mg.SoftmaxCrossEntropy()
    optimizer = mg.SGD(model, 0.1)
    with warnings.catch_warnings(record=True) as caught, mg.Recorder(optimizer, loss=loss):
        warnings.simplefilter("always")
        for _ in range(2):
            model(X)
            for _ in range(2):
                loss.forward(model(X), Y)
                model.backward(loss.backward())
            optimizer.step()
            model[0].weight.value[0, 0] += 1
    assert {"GradientOverwritten", "OutOfBandWrite"} <= {one.category.__name__ for one in caught}
    for one in caught:
        assert "\n" not in shown(one.message)


def test_fit(capsys: pytest.CaptureFixture[str]) -> None:
    """Figures of one's own may be called anything: in the lines of `fit` and in the history."""

    class Stops(mg.Hook):
        def on_epoch(self, event: mg.Epoch) -> None:
            event.stop(HOSTILE)

    def figure(outputs: Any, targets: Any) -> float:
        return 0.5

    figure.__name__ = HOSTILE
    model = model_of(HOSTILE)
    history = mg.fit(
        model, mg.SoftmaxCrossEntropy(), mg.SGD(model, 0.1), mg.Batches(X, Y, 8, rng=0), epochs=2,
        metrics=[figure], progress=True, hooks=[Stops()],
    )  # fmt: skip
    assert r"a\x1b[31mred\r\n" in shown(capsys.readouterr().out)
    assert r"a\x1b[31mred\r\n" in shown(repr(history))
    assert r"a\x1b[31mred\r\n" in shown(history)
    assert r"a\x1b[31mred\r\n" in shown(history.stopped)
    assert HOSTILE in history


def test_compare() -> None:
    """The names that are given to `compare`, of axes or of inputs."""
    before, after = np.zeros((6, 4)), np.eye(6, 4)
    for names in ([HOSTILE, "b"], [HOSTILE] * 6):
        result = mg.compare(before, after, inputs=X, names=names)
        assert r"\x1b[31m" in shown(result)
        shown(result._repr_html_())


def test_the_configuration(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Variables of the environment are what somebody else has set."""
    monkeypatch.setenv("OPENBLAS_CORETYPE", "\x1b[31mHaswell\udc80\n")
    mg.show_config()
    assert r"\x1b[31mHaswell\udc80\n" in shown(capsys.readouterr().out)
