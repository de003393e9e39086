"""Runs of all kinds with their HTML reports, and what reads these: a parser, and a PNG decoder."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from layer_support import Residual
from recording_support import Array, Conv1D, Scale, Tape, dense, network, one, train
from typing_extensions import override

import minigrad as mg

Pixels = npt.NDArray[np.uint8]


TEMPLATE = files("minigrad.display.html").joinpath("template.html").read_text("utf-8")
VOID = {"meta", "link", "img", "input", "br", "hr", "path"}  # the last is always written as <path/>


class Reader(HTMLParser):
    """Reads a page and checks on the way that each element is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.scripts: dict[str, str] = {}
        self.errors: list[str] = []
        self.feed(text)
        self.close()
        assert [] == self.open

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if len({name for name, _ in attrs}) != len(attrs):
            self.errors.append(f"an attribute twice in {self.get_starttag_text()}")
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID and self.open.pop() != tag:
            self.errors.append(f"</{tag}> at {self.getpos()}")

    @override
    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("script", "style"):
            self.scripts[self.elements[-1][1].get("id", self.open[-1])] = data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What is to be read, with single spaces."""
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of this kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(run: mg.Run, folder: Path) -> str:
    run.save_report(folder / "run.html")
    return (folder / "run.html").read_text("utf-8")


def pixels(uri: str) -> Pixels:
    """The pixels of a PNG in an address, read without the code that wrote it: RGB, no filters."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"), validate=True)
    width, height = struct.unpack(">II", data[16:24])
    start = data.index(b"IDAT")
    length = struct.unpack(">I", data[start - 4 : start])[0]
    rows = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + length]), np.uint8).reshape(
        height, -1
    )
    assert not rows[:, 0].any()
    return rows[:, 1:].reshape(height, width, 3)


# -- runs of all kinds ---------------------------------------------------------------------------


def recorded(
    model: mg.Sequential,
    steps: int,
    *,
    lr: Any = 0.1,
    n_in: int = 5,
    before: Callable[[int], None] | None = None,
    tape: Tape | None = None,
    **settings: object,
) -> mg.Run:
    optimizer = mg.SGD(model, lr)
    with mg.Recorder(optimizer, **settings) as recorder, optimizer.attach(tape or Tape()):  # type: ignore[arg-type]
        train(model, optimizer, steps, before, n_in=n_in)
    return recorder.run


def story(steps: int = 12, tape: Tape | None = None, **settings: object) -> mg.Run:
    """A network of the story's shape; images whose border is dark."""
    model = network(784, 10, 10, activation="sigmoid")
    optimizer = mg.SGD(model, 0.1)
    rng = np.random.default_rng(3)
    bright = np.zeros((28, 28))
    bright[4:24, 4:24] = 1
    with mg.Recorder(optimizer, **settings) as recorder, optimizer.attach(tape or Tape()):  # type: ignore[arg-type]
        for _ in range(steps):
            one(
                model,
                optimizer,
                rng.random((3, 784)) * (rng.random((3, 784)) < 0.6) * bright.ravel(),
                rng,
            )
    return recorder.run


def reasons() -> mg.Run:
    """6 inputs, 4 units: two inputs dark, one unit silent, one weight too large to move, one that
    came back.
    """
    model = mg.Sequential(mg.Dense(6, 4, init=mg.init.constant(1.0)))
    dense(model, 0).weight.value[0, 0] = 1e9
    optimizer = mg.SGD(model, 0.5)
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        one(model, optimizer, [[1, 2, 3, 4, 0, 0]], [[1, 1, 1, 0]])
        one(model, optimizer, [[1, 2, 3, 4, 0, 0]], [[1, 1, -1, 0]])
    return recorder.run


def nonfinite() -> mg.Run:
    """Updates that become infinite, and values NaN."""
    model = mg.Sequential(mg.Dense(3, 2, rng=0), mg.Dense(2, 2, rng=1))
    optimizer = mg.SGD(model, 1.0)
    with mg.Recorder(optimizer) as recorder, np.errstate(all="ignore"):
        for grad in (1.0, np.inf, np.nan, 1.0):
            one(model, optimizer, [[1, 2, 0]], [[grad, 1.0]])
    return recorder.run


def touched(model: mg.Sequential) -> mg.Run:
    """Somebody writes into a value between two steps."""

    def write(number: int) -> None:
        if number == 4:
            mg.ParameterVector.of(model).parameters[0].value[0, 0] = 7

    with pytest.warns(mg.errors.OutOfBandWrite):
        return recorded(model, 8, before=write)


def others() -> mg.Run:
    """Layers that do not explain themselves, parameters of one axis and of one entry, a frozen
    layer.
    """
    model = mg.Sequential(
        Conv1D(2, 3, np.random.default_rng(0)), Residual(mg.Dense(12, 12, rng=0)), Scale(12)
    )
    model[1].freeze()
    return recorded(model, 6, every=2)


class Odd(mg.Layer):
    """Parameters with names that must be escaped, of three axes and of none."""

    def __init__(self) -> None:
        vars(self)['</script><script>alert("1")</script>&amp;'] = mg.Parameter(
            np.ones((2, 3, 4), np.float32)
        )
        # With ESC, line breaks and a mark that turns the direction.
        vars(self)["\"'<b>$title ${body}\x1b[31m\r\n\x0b\u2028\u202e"] = mg.Parameter(
            np.array(2, np.float32)
        )

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, grad: Array) -> Array:
        for _, parameter in self.parameters():
            parameter.grad = np.full(parameter.shape, grad.sum(), parameter.dtype)
        return grad


RUNS: dict[str, Callable[[], mg.Run]] = {
    "story": story,
    "reasons": reasons,
    "no counts": lambda: recorded(network(5, 4, 3), 8, aggregates=False),
    "no tensors": lambda: recorded(network(5, 4, 3), 8, keep=()),
    "neither": lambda: recorded(network(5, 4, 3), 8, keep=(), aggregates=False),
    "gradients": lambda: recorded(network(5, 4, 3), 8, keep=("grad",)),
    "one step": lambda: recorded(network(5, 4, 3), 1),
    "no step": lambda: recorded(network(5, 4, 3), 0),
    "lr 0": lambda: recorded(network(5, 4, 3), 3, lr=lambda step: 0.0),
    "every 7": lambda: recorded(network(5, 4, 3), 60, every=7),
    "thinned": lambda: recorded(network(5, 4, 3), 300, budget=8_000, keyframe_every=8),
    "ring": lambda: recorded(network(5, 4, 3), 300, budget=8_000, keyframe_every=8, on_full="ring"),
    "nonfinite": nonfinite,
    "touched": lambda: touched(network(5, 3)),
    "others": others,
    "odd names": lambda: touched(mg.Sequential(Odd(), mg.Dense(5, 2, rng=0))),
    "large": lambda: recorded(network(5, 700, 3), 4),
}


class Pages(dict[str, tuple[mg.Run, str]]):
    """Each run of the table and its page, made when it is first asked for."""

    def __missing__(self, name: str) -> tuple[mg.Run, str]:
        run = RUNS[name]()
        with TemporaryDirectory() as folder:
            self[name] = run, page_of(run, Path(folder))
        return self[name]


pages = Pages()
