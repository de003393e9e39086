"""Animated pictures: the files are read back by a decoder of this file's own, and the frames
compared with the record.
"""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from recording_support import Scale, network, one, train

import minigrad as mg
from minigrad.display import drawing, png
from minigrad.errors import DataFileError, KindError, NotExactError, RangeError, ShapeError

Pixels = npt.NDArray[np.uint8]


class Animation(NamedTuple):
    """An animated PNG, decoded: what a viewer shows, and how long."""

    frames: list[Pixels]
    delays: list[Fraction]
    plays: int
    rectangles: list[tuple[int, int, int, int]]


def decode(data: bytes) -> Animation:
    """The frames, after the specification (https://www.w3.org/TR/png-3/).

    Everything that must hold is asserted.
    """
    assert bytes([137, 80, 78, 71, 13, 10, 26, 10]) == data[:8]
    chunks, at = [], 8
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert (zlib.crc32(kind + body),) == struct.unpack(
            ">I", data[at + 8 + length : at + 12 + length]
        )
        chunks.append((kind, body))
        at += 12 + length
    assert at == len(data)
    kinds = [kind for kind, _ in chunks]
    assert [b"IHDR", b"acTL", b"PLTE", b"tRNS", b"fcTL", b"IDAT"] == kinds[:6]
    assert [b"fcTL", b"fdAT"] * ((len(kinds) - 7) // 2) + [b"IEND"] == kinds[6:]

    width, height, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert [8, 3, 0, 0, 0] == rest  # 8 bits, numbers of a palette
    count, plays = struct.unpack(">II", chunks[1][1])
    palette = np.frombuffer(chunks[2][1], np.uint8).reshape(-1, 3)
    assert len(palette) <= 256
    assert b"\x00" == chunks[3][1]  # number 0 is transparent
    assert count == kinds.count(b"fcTL")

    canvas = np.zeros((height, width, 3), np.uint8)
    found, sequence = Animation([], [], plays, []), 0
    for place in range(count):
        control, (_, body) = chunks[4 + 2 * place][1], chunks[5 + 2 * place]
        order, wide, high, left, top, num, den, dispose, blend = struct.unpack(
            ">IIIIIHHBB", control
        )
        assert sequence == order
        sequence += 1
        if place:
            assert (sequence,) == struct.unpack(">I", body[:4])
            sequence += 1
            body = body[4:]
        assert wide > 0
        assert high > 0
        assert left + wide <= width
        assert top + high <= height
        assert place or (wide, high) == (width, height)
        assert (0, min(place, 1)) == (dispose, blend)
        raw = np.frombuffer(zlib.decompress(body), np.uint8).reshape(high, 1 + wide)
        assert not raw[:, 0].any()  # no filter
        numbers = raw[:, 1:]
        assert place or numbers.all()  # nothing of the first frame is transparent
        view = canvas[top : top + high, left : left + wide]
        view[numbers > 0] = palette[numbers[numbers > 0]]
        found.frames.append(canvas.copy())
        found.delays.append(Fraction(num, den))
        found.rectangles.append((top, left, high, wide))
    return found


# -- the encoder ---------------------------------------------------------------------------------


def some_frames(count: int, shape: tuple[int, int] = (5, 7), colors: int = 255) -> list[Pixels]:
    rng = np.random.default_rng(0)
    palette = (
        rng.choice(1 << 24, colors, replace=False)
        .astype(">u4")
        .view(np.uint8)
        .reshape(-1, 4)[:, 1:]
    )
    return [palette[rng.integers(0, colors, shape)] for _ in range(count)]


@sparse(
    pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (5, 7), (60, 40)]),
    pytest.mark.parametrize("count", [1, 2, 5]),
)
def test_frames_are_what_went_in(count: int, shape: tuple[int, int]) -> None:
    """Each frame comes out pixel by pixel, in colors at random, black among them."""
    frames = some_frames(count, shape, colors=200)
    frames[-1][0, 0] = 0
    found = decode(png.apng(iter(frames), seconds=1))
    assert count == len(found.frames)
    assert 0 == found.plays  # for ever
    for expected, actual in zip(frames, found.frames, strict=True):
        assert np.array_equal(expected, actual)


def test_only_what_changed_is_stored() -> None:
    """A frame is the smallest rectangle around what changed.

    One that is the same is a single transparent pixel.
    """
    first = np.full((20, 30, 3), 255, np.uint8)
    second = first.copy()
    second[3, 4] = second[10, 20] = (1, 2, 3)
    found = decode(png.apng([first, second, second, second, first], seconds=1))
    assert [
        (0, 0, 20, 30),
        (3, 4, 8, 17),
        (0, 0, 1, 1),
        (0, 0, 1, 1),
        (3, 4, 8, 17),
    ] == found.rectangles
    for expected, actual in zip([first, second, second, second, first], found.frames, strict=True):
        assert np.array_equal(expected, actual)
    many = png.apng([first] * 1000, seconds=10)
    assert 1000 == len(decode(many).frames)
    assert len(many) < 100_000


@pytest.mark.parametrize(
    ("seconds", "count"),
    [(6, 60), (1, 3), (0.7, 60), (1e-9, 2), (65535 * 2, 2), (100_000, 2), (1 / 3, 7)],
)
def test_durations(seconds: float, count: int) -> None:
    """All frames last equally long, together as long as asked, as near as two numbers of 16 bits
    can say it.
    """
    delays = decode(png.apng(some_frames(count), seconds)).delays
    assert 1 == len(set(delays))
    assert delays[0] > 0
    assert float(delays[0]) == pytest.approx(max(seconds / count, 1 / 65535), rel=1e-4)


def test_what_the_encoder_refuses() -> None:
    """No frame, other shapes, too many colors and impossible times are told."""
    with pytest.raises(ShapeError, match="one frame or more, got none"):
        png.apng([], 1)
    with pytest.raises(ShapeError, match=r"\(height, width, 3\), got \(2, 3\)"):
        png.apng([np.zeros((2, 3), np.uint8)], 1)
    with pytest.raises(
        ShapeError, match=r"frame 1 has shape \(2, 3, 3\), those before it \(3, 2, 3\)"
    ):
        png.apng([np.zeros((3, 2, 3), np.uint8), np.zeros((2, 3, 3), np.uint8)], 1)
    ramp = np.zeros((1, 256, 3), np.uint8)
    ramp[0, :, 0] = np.arange(256)
    assert np.array_equal(ramp[:, :255], decode(png.apng([ramp[:, :255]], 1)).frames[0])
    with pytest.raises(RangeError, match="at most 255 colors, these frames have 256"):
        png.apng([ramp], 1)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(RangeError, match="seconds is"):
            png.apng(some_frames(2), seconds)
    with pytest.raises(RangeError, match=r"at most 65,535 seconds"):
        png.apng(some_frames(1), 70_000)


# -- a parameter that learns ---------------------------------------------------------------------


def recorded(steps: int = 20, size: int = 12, units: int = 3, **settings: Any) -> mg.Run:
    """A weight of some units; its first input is always 0."""
    model = mg.Sequential(mg.Dense(size, units, rng=0))
    optimizer = mg.SGD(model, 0.1)
    rng = np.random.default_rng(1)
    with mg.Recorder(optimizer, **settings) as recorder:
        for _ in range(steps):
            x = rng.normal(size=(2, size))
            x[:, 0] = 0
            one(model, optimizer, x, rng)
    return recorder.run


def drawn(
    amounts: npt.NDArray[Any], hidden: npt.NDArray[np.bool_], top: float, scale: int = 1
) -> Pixels:
    """The units of a weight, side by side as `.png()` draws them."""
    tiles = [
        drawing.diverging(amounts[:, unit].reshape(3, 4), hidden[:, unit].reshape(3, 4), top)
        for unit in range(3)
    ]
    return drawing.tiled(tiles, columns=3, scale=scale)


def assert_alike(expected: Pixels, actual: Pixels) -> None:
    """The same picture, but for the smaller number of shades that an animation has."""
    assert expected.shape == actual.shape
    assert np.abs(expected.astype(int) - actual).max() <= 2


@pytest.mark.parametrize("what", ["change", "value", "update"])
def test_each_frame_is_its_step(what: Any) -> None:
    """Every frame shows the amounts of its own step, all on one scale, whatever is shown."""
    run = recorded()
    history = run["0.weight"]
    every: dict[str, list[npt.NDArray[Any]]] = {
        "change": [history.value(step) - history.initial for step in run.steps],
        "value": [history.value(step) for step in run.steps],
        "update": list(history.updates),
    }
    amounts = every[what]
    hidden = ~history.moved if what == "change" else np.zeros(history.shape, bool)
    assert hidden.any() == (what == "change")
    top = float(np.abs(amounts).max())
    frames = decode(history.animation(shape=(3, 4), scale=2, what=what)).frames
    assert len(run.steps) == len(frames)
    for amount, frame in zip(amounts, frames, strict=True):
        assert_alike(drawn(amount, hidden, top, scale=2), frame)


def test_the_last_frame_is_the_still_picture() -> None:
    """Where the change is largest at the end, the last frame is the picture that `png` draws, at
    the same size.
    """
    model = mg.Sequential(mg.Dense(12, 3, init="zeros"))
    optimizer = mg.SGD(model, 1.0)
    with mg.Recorder(optimizer) as recorder:
        for _ in range(5):
            one(model, optimizer, np.arange(12)[np.newaxis], [[1, -1, 0.5]])
    history = recorder.run["0.weight"]
    still = history.png(shape=(3, 4))
    width, height = struct.unpack(">II", still[16:24])
    raw = zlib.decompress(still[41 : 41 + struct.unpack(">I", still[33:37])[0]])
    pixels = (
        np.frombuffer(raw, np.uint8).reshape(height, 1 + 3 * width)[:, 1:].reshape(height, width, 3)
    )
    frames = decode(history.animation(shape=(3, 4))).frames
    assert_alike(pixels, frames[-1])
    never = (pixels == drawing.HIDDEN).all(axis=2)
    assert never.any()
    for frame in frames:  # from the first to the last, green stays green, and nothing else is
        assert np.array_equal(never, (frame == drawing.HIDDEN).all(axis=2))


@pytest.mark.parametrize(
    ("frames", "expected"), [(2, [0, 19]), (3, [0, 10, 19]), (20, range(20)), (500, range(20))]
)
def test_frames_lie_evenly(frames: int, expected: Any) -> None:
    """As many steps as asked, if there are so many; the first and the last always."""
    history = recorded()["0.weight"]
    found = decode(history.animation(units=1, shape=(3, 4), frames=frames, what="value", seconds=3))
    steps = list(expected)
    assert len(steps) == len(found.frames)
    assert [Fraction(3, len(steps))] * len(steps) == found.delays
    same = decode(history.animation(units=[1], shape=(3, 4), steps=steps, what="value"))
    for a, b in zip(found.frames, same.frames, strict=True):
        assert np.array_equal(a, b)


@sparse(
    pytest.mark.parametrize(
        "settings",
        [
            {},
            {"keyframe_every": 4},
            {"every": 3},
            {"budget": 900},
            {"budget": 1500, "on_full": "ring"},
            {"keep": ("update", "grad")},
            {"aggregates": False},
        ],
        ids=str,
    ),
    every=3,
)
def test_values_are_those_of_the_record(settings: dict[str, Any]) -> None:
    """However steps are kept, each frame shows what `value` gives for its step, and only steps that
    are exact.
    """
    run = recorded(steps=25, **settings)
    history = run["0.weight"]
    exact = run.exact_steps.tolist()
    values = [history.value(step) for step in exact]
    top = float(np.abs(values).max())
    frames = decode(history.animation(shape=(3, 4), scale=1, what="value")).frames
    assert len(exact) == len(frames) > 2
    for value, frame in zip(values, frames, strict=True):
        assert_alike(drawn(value, np.zeros(value.shape, bool), top), frame)
    if settings.get("keep") != ("update", "grad"):
        assert len(decode(history.animation(what="update", shape=(3, 4))).frames) == len(
            history.updates
        )


def test_a_write_by_hand_between_two_steps() -> None:
    """The values go on from what was written."""
    model = network(5, 3)
    optimizer = mg.SGD(model, 0.1)

    def write(number: int) -> None:
        if number == 4:
            model[0].weight.value[0] += 3

    with pytest.warns(mg.errors.OutOfBandWrite), mg.Recorder(optimizer) as recorder:
        train(model, optimizer, 8, before=write)
    history = recorder.run["0.weight"]
    values = [history.value(step) for step in recorder.run.steps]
    top = float(np.abs(values).max())
    for value, frame in zip(
        values, decode(history.animation(scale=1, what="value")).frames, strict=True
    ):
        tile = drawing.diverging(value, np.zeros(value.shape, bool), top)
        assert_alike(drawing.tiled([tile], columns=1), frame)


def test_all_shades_at_once() -> None:
    """However many amounts there are, the colors fit into the palette, and follow the amounts from
    blue to red.
    """
    model = mg.Sequential(mg.Dense(2001, 1, init="zeros"))
    optimizer = mg.SGD(model, 1.0)
    x = np.linspace(-1, 1, 2001)[np.newaxis]
    with mg.Recorder(optimizer) as recorder:
        for _ in range(3):
            one(model, optimizer, x, [[-1]])
    history = recorder.run["0.weight"]
    row = decode(history.animation(units=0, scale=1)).frames[-1][2, 2:-2].astype(int)
    redness = np.delete(row[:, 0] - row[:, 2], 1000)  # the entry whose input is 0 never moved
    assert (np.diff(redness) >= 0).all()
    assert len(set(redness.tolist())) > 200


def test_without_counts_nothing_is_green() -> None:
    """A record without counts does not know what never moved.

    Such entries are white, as their change is 0.
    """
    frames = decode(recorded(aggregates=False)["0.weight"].animation(shape=(3, 4), scale=1)).frames
    assert not (frames[-1] == drawing.HIDDEN).all(axis=2).any()
    assert (255, 255, 255) == tuple(frames[-1][2, 2])


@pytest.mark.parametrize("name", ["0.weight", "0.bias"])
def test_units_and_shapes(name: str) -> None:
    """Without unit and shape the parameter is drawn as it lies, a bias as one row.

    Units stand in the order given.
    """
    history = recorded()[name]
    still = struct.unpack(">II", history.png()[16:24])
    assert still == decode(history.animation()).frames[0].shape[1::-1]
    if name == "0.weight":
        both = decode(history.animation(units=(2, -3), shape=(3, 4), scale=1, what="value")).frames
        all_of_them = decode(history.animation(shape=(3, 4), scale=1, what="value")).frames
        assert (2 + 3 + 2, 2 + 2 * (4 + 2), 3) == both[0].shape
        # Each picture has a scale of its own, so signs are compared: red where red was, blue where
        # blue was.
        signs = [
            np.sign(frames[0].astype(int)[2:5, :, 0] - frames[0][2:5, :, 2])
            for frames in (both, all_of_them)
        ]
        assert np.array_equal(signs[0][:, 2:6], signs[1][:, 14:18])
        assert np.array_equal(signs[0][:, 8:12], signs[1][:, 2:6])


def test_it_is_written_as_a_whole(tmp_path: Path) -> None:
    """The file holds the bytes that are returned, replaces what was there, and leaves nothing else
    behind.
    """
    history = recorded()["0.weight"]
    path = tmp_path / "learning.png"
    path.write_text("something else")
    content = history.animation(path)
    assert content == path.read_bytes()
    assert content == history.animation(str(path))
    assert [path] == list(tmp_path.iterdir())
    with pytest.raises(
        DataFileError,
        match=r"'.*nowhere.*' cannot be written: No such file or directory; give a file",
    ):
        history.animation(tmp_path / "nowhere" / "learning.png")
    directory = tmp_path / "directory"
    directory.mkdir()
    with pytest.raises(DataFileError, match="cannot be written"):
        history.animation(directory)
    assert sorted([path, directory]) == sorted(tmp_path.iterdir())


def test_strange_numbers() -> None:
    """NaN, infinity, huge numbers and no change at all are drawn without a warning."""
    model = mg.Sequential(Scale(5))
    optimizer = mg.SGD(model, 1.0)
    scale = dict(model.parameters())["0.scale"]
    with mg.Recorder(optimizer) as recorder:
        for grad in ([0, 0, 0, 0, 0], [0, 1, -1, 3e38, 1], [0, np.nan, np.inf, -3e38, 1]):
            scale.grad = np.array(grad, np.float32)
            optimizer.step()
    whats: list[Any] = ["change", "value", "update"]
    for what in whats:
        frames = decode(recorder.run["0.scale"].animation(what=what, scale=1)).frames
        assert 3 == len(frames)
        strange = [
            (frame[2:-2, 2:-2] == drawing.STRANGE).all(axis=2)[0].tolist() for frame in frames
        ]
        assert [False] * 5 == strange[0] == strange[1]
        assert [False, True, True, False, False] == strange[2]
    still = recorded(steps=2)["0.weight"].animation(steps=[0, 1])
    assert 2 == len(decode(still).frames)
    model = mg.Sequential(mg.Dense(3, 2, rng=0))
    with mg.Recorder(mg.SGD(model, lambda step: 0.0)) as recorder:
        train(model, recorder.optimizer, 3, n_in=3)
    frames = decode(recorder.run["0.weight"].animation()).frames
    assert all((frame[2:-2, 2:-2] == drawing.HIDDEN).all() for frame in frames)


@sparse(
    pytest.mark.parametrize(
        ("settings", "error", "contents"),
        [
            ({"frames": 1}, RangeError, "frames is 1, expected a whole number, 2 or more"),
            ({"frames": 2.5}, KindError, "frames is 2.5"),
            ({"seconds": 0}, RangeError, "seconds is 0, expected a finite number above 0"),
            ({"seconds": -1.5}, RangeError, "seconds is -1.5"),
            ({"seconds": "6"}, KindError, "seconds is '6'"),
            ({"scale": 0}, RangeError, "scale is 0"),
            (
                {"what": "gradient"},
                RangeError,
                "what is 'gradient', expected 'change', 'value' or 'update'",
            ),
            ({"units": 3}, RangeError, "'0.weight' of shape (12, 3) has no unit 3"),
            ({"units": [0, -4]}, RangeError, "'0.weight' of shape (12, 3) has no unit -4"),
            ({"units": []}, RangeError, "units is empty"),
            ({"units": "all"}, KindError, "units is 'all'"),
            ({"units": [0.5]}, KindError, "0.5 is not the number of a unit"),
            (
                {"shape": (5, 5)},
                ShapeError,
                "12 entries of '0.weight' do not fill a picture of shape (5, 5)",
            ),
            ({"shape": (12,)}, ShapeError, "do not fill a picture of shape (12,)"),
            ({"shape": (-3, -4)}, ShapeError, "do not fill a picture of shape (-3, -4)"),
            ({"steps": [0, 20]}, RangeError, "there is no step 20: the run has steps 0 to 19"),
            ({"steps": [-1, 0]}, RangeError, "there is no step -1"),
            ({"steps": 5}, KindError, "steps is 5, expected the numbers of steps"),
            ({"steps": ["a"]}, KindError, "'a' is no number of a step"),
            ({"steps": [3]}, NotExactError, "there is only step 3 among the given ones"),
            ({"steps": []}, NotExactError, "there is no step among the given ones"),
        ],
        ids=str,
    ),
    every=2,
)
def test_what_is_refused(settings: dict[str, Any], error: type[Exception], contents: str) -> None:
    """Each argument has its range, and the message says it."""
    with pytest.raises(error) as told:
        recorded()["0.weight"].animation(**settings)
    assert contents in str(told.value)


def test_records_without_tensors() -> None:
    """Where fewer than two steps are known, that is an error, which says what to record."""
    counts = recorded(keep=())["0.weight"]
    with pytest.raises(
        NotExactError,
        match=r"whose values are known exactly, and there is only step 19; record with keep",
    ):
        counts.animation()
    with pytest.raises(NotExactError, match="whose updates are held, and there is no step"):
        counts.animation(what="update")
    model = network(3, 2)
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        pass
    whats: list[Any] = ["change", "value", "update"]
    for what in whats:
        with pytest.raises(NotExactError, match="there is no step"):
            recorder.run["0.weight"].animation(what=what)


@pytest.mark.slow
def test_thousands_of_steps_take_little_time() -> None:
    """The record is passed once: 4,000 steps with 60 frames take seconds at the very most."""
    run = recorded(steps=4000, keyframe_every=4000)
    begin = perf_counter()
    frames = decode(run["0.weight"].animation(shape=(3, 4))).frames
    assert perf_counter() - begin < 5
    assert 60 == len(frames)
