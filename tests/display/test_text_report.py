"""The report in text, and the pictures."""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from case_support import sparse
from loop_support import take_step
from recording_support import Array, Scale, bias, dense, network, one, train

import minigrad as mg
from minigrad.errors import RangeError, ShapeError


def hand_made() -> tuple[mg.Run, mg.Sequential]:
    """6 inputs, 4 units: two inputs dark, one unit silent, one weight too large to move, one that
    came back.
    """
    model = mg.Sequential(mg.Dense(6, 4, init=mg.init.constant(1.0)))
    layer = dense(model, 0)
    layer.weight.value[0, 0] = 1e9
    optimizer = mg.SGD(model, 0.5)
    x = [[1, 2, 3, 4, 0, 0]]
    with mg.Recorder(optimizer, coactivation=True) as recorder:
        one(model, optimizer, x, [[1, 1, 1, 0]])
        one(model, optimizer, x, [[1, 1, -1, 0]])
    return recorder.run, model


def test_hand_made_report() -> None:
    """The report of a case made by hand, word for word: counts first, then the reasons in the order
    of the gates.
    """
    lines = hand_made()[0].report().splitlines()
    assert lines[0].startswith("2 steps of SGD(lr=0.5, 28 entries). Kept: the tensors of 2 steps, ")
    assert lines[1:] == [
        "",
        "0.weight (6, 4) float32: 11 of 24 entries moved; 13 never did:",
        "     8  their input was 0 in every sample (2 inputs)",
        "     4  their unit's gradient was 0 in every sample",
        "     1  every update was lost to rounding",
        "    Of those that moved, 4 came back to exactly where they began.",
        "",
        "0.bias (4,) float32: 3 of 4 entries moved; 1 never did:",
        "    1  their unit's gradient was 0 in every sample",
        "    Of those that moved, 1 came back to exactly where they began.",
    ]


def test_report_tells_the_other_reasons() -> None:
    """Frozen, not reached, cancelled, and the rest: each has words of its own."""
    model = network(3, 2, 2)
    model[0].freeze()
    with mg.Recorder(mg.SGD(model, lambda step: 0.0)) as recorder:
        one(model, recorder.optimizer, [[1, 1, 1]], [[1, 1]])
    text = recorder.run.report()
    assert "6  they were frozen" in text
    assert "2.weight (2, 2) float32: 0 of 4 entries moved; 4 never did:" in text
    assert "4  their update was 0 in every step" in text


def test_unknown_entries_are_counted_apart() -> None:
    """An entry of which it is not known whether it moved is not among those that "never did"."""
    model = network(3, 1, dtype=np.float64)
    optimizer = mg.SGD(model, 0.1)
    recorder = mg.Recorder(optimizer)
    with recorder:
        one(model, optimizer, [[0, 1, 0]], [[1]])
    one(model, optimizer, [[1, 0, 0]], [[1]])  # not recorded
    with recorder:
        one(model, optimizer, [[0, 1, 0]], [[1]])
    assert (
        "0.weight (3, 1) float64: 1 of 3 entries moved; 1 never did; of 1 it is not known:"
        in recorder.run.report().splitlines()
    )


def test_report_of_one() -> None:
    """One is one: no "1 steps", "1 inputs" or "all 1 entries"."""
    model = mg.Sequential(mg.Dense(2, 1, init="zeros"), Scale(1))
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        one(model, recorder.optimizer, [[0, 1]], [[1]])
    text = recorder.run.report()
    assert "(1 input)" in text
    assert not re.search(r"\b1 (steps|inputs)\b|all 1 entries", text)


@pytest.mark.parametrize("every", [1, 7])
def test_report_without_tensors_says_so(every: int) -> None:
    """Counts alone: the report says that there are no tensors, whatever the sampling."""
    model = network(3, 2)
    with mg.Recorder(mg.SGD(model, 0.1), keep=(), every=every) as recorder:
        train(model, recorder.optimizer, 5, n_in=3)
    assert "Kept: counts, and no tensors." in recorder.run.report()


def test_report_without_steps() -> None:
    """A record without steps has a report that says so, and claims nothing."""
    model = network(3, 2)
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        pass
    text = recorder.run.report()
    assert text.startswith("No step is recorded.")
    assert "frozen" not in text


def test_report_names_the_losses() -> None:
    """Where the loss is known, the first and the last are named."""
    model = network(3, 2)
    optimizer = mg.SGD(model, 0.1)
    loss = mg.SoftmaxCrossEntropy()
    with mg.Recorder(optimizer, loss=loss) as recorder:
        values = []
        for _ in range(3):
            values.append(
                take_step(model, loss, optimizer, np.ones((2, 3), np.float32), np.array([0, 1]))
            )
    assert (
        f"loss {values[0]:.4g} at the first and {values[-1]:.4g} at the last"
        in recorder.run.report()
    )


@pytest.mark.filterwarnings("ignore::minigrad.errors.OutOfBandWrite")
@sparse(pytest.mark.parametrize("names", ["short", "long"]), every=2)
def test_report_is_100_columns_wide(names: str) -> None:
    """No line of a report is longer than 100 columns: long names, notes, gaps and all reasons
    included.
    """
    rng = np.random.default_rng(0)
    inner = mg.Dense(64, 64, rng=rng)
    layers = {"first": mg.Dense(64, 64, rng=rng), "second": inner}
    if names == "long":
        layers = {f"{name}_attention_projection": layer for name, layer in layers.items()}
        block = mg.Sequential(**layers)
        model = mg.Sequential(encoder=mg.Sequential(residual=block), head=mg.Dense(64, 3, rng=rng))
    else:
        model = mg.Sequential(mg.Sequential(**layers), mg.Dense(64, 3, rng=rng))
    optimizer = mg.SGD(model, 1e-9)
    with mg.Recorder(optimizer, budget=3_000_000, keyframe_every=4) as recorder:
        for step in range(120):
            if step % 50 == 3:
                for parameter in mg.ParameterVector.of(model).parameters:
                    parameter.value[0] += 1
            if step == 60:
                inner.freeze()
            x = rng.normal(size=(4, 64)) * (rng.random(64) < 0.5)
            x[:, ::7] = 0
            one(model, optimizer, x, rng)
    text = recorder.run.report()
    assert "Gap" in text
    assert "Note" in text
    assert max(len(line) for line in text.splitlines()) <= 100


# -- NumPy's own print ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((784, 10), {}),
        ((300, 4), {}),
        ((6, 400), {}),
        ((200, 200), {"edgeitems": 2}),
        ((30, 20), {"threshold": 50}),
        ((30, 20), {}),
        ((7, 7), {"threshold": 10, "edgeitems": 3}),
        ((1001, 1), {}),
        ((20, 60), {"edgeitems": 5}),
        ((50, 40), {"threshold": 2000}),
        ((50, 41), {"threshold": 2000, "edgeitems": 1}),
    ],
)
def test_what_the_report_says_of_numpys_print(
    shape: tuple[int, int], options: dict[str, Any]
) -> None:
    """The number of entries that NumPy's print shows, and how many of them moved, is what NumPy
    really prints.
    """
    rng = np.random.default_rng(0)
    model = mg.Sequential(mg.Dense(*shape, init="zeros"))
    layer = dense(model, 0)
    place = np.arange(layer.weight.size).reshape(shape)
    optimizer = mg.SGD(model, 1.0)
    dark = rng.random(shape[0]) < 0.5
    with mg.Recorder(optimizer, keep=()) as recorder:
        one(model, optimizer, np.where(dark, 0, 1)[np.newaxis], np.ones((1, shape[1])))
    with np.printoptions(**options):
        told = recorder.run.report().split("0.bias")[0]
        printed = np.array2string(place)  # each entry as the number of its place
    shown = [int(number) for number in re.findall(r"\d+", printed)]
    moved = int(recorder.run["0.weight"].moved.ravel()[shown].sum())
    if len(shown) == place.size:
        assert "NumPy" not in told
    elif moved:
        assert (
            f"NumPy's print of this parameter shows {len(shown):,} entries, of which {moved:,} "
            f"moved." in told
        )
    else:
        assert f"shows {len(shown):,} entries; none of them moved, so it looks unchanged." in told


def test_none_of_the_printed_entries_moved() -> None:
    """Where only the printed corners stayed, the report says that the print looks unchanged.

    And it does.
    """
    model = mg.Sequential(mg.Dense(784, 10, rng=0))
    before = repr(dense(model, 0).weight.value)
    optimizer = mg.SGD(model, 1.0)
    x = np.ones((1, 784))
    x[:, :3] = x[:, -3:] = 0
    with mg.Recorder(optimizer, keep=()) as recorder:
        one(model, optimizer, x, np.ones((1, 10)))
    text = recorder.run.report()
    assert repr(dense(model, 0).weight.value) == before
    assert "0.weight (784, 10) float32: 7,780 of 7,840 entries moved; 60 never did:" in text
    assert "       60  their input was 0 in every sample (6 inputs)" in text
    assert (
        "    NumPy's print of this parameter shows 36 entries; none of them moved, so it looks "
        "unchanged." in text
    )


# -- pictures ------------------------------------------------------------------------------------


def decode(png: bytes) -> npt.NDArray[np.uint8]:
    """A PNG's pixels, after the specification: signature, chunks with their check sums, and the
    five filters.
    """
    assert png[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    chunks: list[tuple[bytes, bytes]] = []
    place = 8
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        kind, data = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        (crc,) = struct.unpack(">I", png[place + 8 + length : place + 12 + length])
        assert crc == zlib.crc32(kind + data)
        chunks.append((kind, data))
        place += 12 + length
    assert [kind for kind, _ in chunks][0 :: len(chunks) - 1] == [b"IHDR", b"IEND"]
    width, height, depth, color, compression, filtering, interlace = struct.unpack(
        ">IIBBBBB", chunks[0][1]
    )
    assert (depth, color, compression, filtering, interlace) == (8, 2, 0, 0, 0)
    data = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    assert len(data) == height * (1 + 3 * width)
    rows = np.zeros((height + 1, 3 * (width + 1)), int)  # a border of 0 above and to the left
    for y in range(height):
        line = data[y * (1 + 3 * width) : (y + 1) * (1 + 3 * width)]
        for i, byte in enumerate(line[1:], start=3):
            left, up, corner = int(rows[y + 1, i - 3]), int(rows[y, i]), int(rows[y, i - 3])
            estimate = left + up - corner
            paeth = min((left, up, corner), key=lambda one: abs(estimate - one))
            rows[y + 1, i] = (byte + (0, left, up, (left + up) // 2, paeth)[line[0]]) % 256
    return rows[1:, 3:].reshape(height, width, 3).astype(np.uint8)


def pictured() -> mg.recording.ParameterHistory:
    """A weight of 12 inputs and 3 units: some grew, some fell, some never moved, one came back."""
    model = mg.Sequential(mg.Dense(12, 3, init="zeros"))
    optimizer = mg.SGD(model, 1.0)
    x = np.array([[0, 1, 2, 3, 4, 5, 6, 7, 8, 0, -4, -8]])
    with mg.Recorder(optimizer) as recorder:
        one(model, optimizer, x, [[-1, 1, -1]])
        one(model, optimizer, x, [[-1, 0, 1]])
    return recorder.run["0.weight"]


def test_picture_in_text() -> None:
    """One character an entry: `·` exactly where nothing moved, and the darker, the further it
    moved.
    """
    history = pictured()
    lines = history.picture(unit=0, shape=(3, 4)).splitlines()
    assert lines[0] == "·░▒▒"
    assert lines[1] == "▓▓██"
    assert lines[2] == "█·▓█"
    assert lines[1:3] != lines[0:2]
    assert "0.weight, unit 0: 10 of 12 entries moved" in lines[3]
    assert "16" in lines[3]
    assert history.picture(unit=-1).splitlines()[0] == "·░▒▒▓▓███·▓█"


@pytest.mark.parametrize("unit", [None, 0, 1, 2])
def test_characters_of_unmoved_entries(unit: int | None) -> None:
    """`·` stands where an entry never moved, and nowhere else; the sentence below has the count."""
    history = pictured()
    moved = history.moved if unit is None else history.moved[:, unit].reshape(1, -1)
    *lines, sentence = history.picture(unit=unit).splitlines()
    assert [[character != "·" for character in line] for line in lines] == moved.tolist()
    assert f"{moved.sum()} of {moved.size} entries moved" in sentence


def test_a_move_that_is_small_beside_others_is_not_drawn_as_none() -> None:
    """An entry that moved a millionth as far as another is drawn as moved."""
    model = mg.Sequential(Scale(3))
    optimizer = mg.SGD(model, 1.0)
    with mg.Recorder(optimizer) as recorder:
        dict(model.parameters())["0.scale"].grad = np.array([0, 1e-6, 1], np.float32)
        optimizer.step()
    assert recorder.run["0.scale"].picture().splitlines()[0] == "·░█"


def test_png_of_a_unit() -> None:
    """Red where a weight grew, blue where it fell, white where it came back, and a color of its own
    where it never moved.
    """
    history = pictured()
    picture = {
        unit: decode(history.png(unit=unit, shape=(3, 4), scale=1))[2:5, 2:6] for unit in range(3)
    }
    moved = {unit: history.moved[:, unit].reshape(3, 4) for unit in range(3)}
    change = (history.final - history.initial).T.reshape(3, 3, 4)
    never = {tuple(color) for unit in range(3) for color in picture[unit][~moved[unit]].tolist()}
    other = {tuple(color) for unit in range(3) for color in picture[unit][moved[unit]].tolist()}
    assert len(never) == 1
    assert not never & other
    for unit in range(3):
        red, _, blue = np.moveaxis(picture[unit].astype(int), 2, 0)
        assert (red > blue)[moved[unit] & (change[unit] > 0)].all()
        assert (red < blue)[moved[unit] & (change[unit] < 0)].all()
        assert (picture[unit][moved[unit] & (change[unit] == 0)] == 255).all()
    strength = 255 - picture[0].min(axis=2).astype(int)
    grown = change[0] * moved[0] > 0
    assert (np.diff(strength[grown][np.argsort(change[0][grown])]) >= 0).all(), (
        "the further, the stronger"
    )


def test_no_amount_has_the_color_of_unmoved() -> None:
    """Whatever its amount, an entry that moved never has the color that says that it did not."""
    model = mg.Sequential(mg.Dense(2001, 1, init="zeros"))
    optimizer = mg.SGD(model, 1.0)
    x = np.linspace(-1, 1, 2001)[np.newaxis]
    with mg.Recorder(optimizer) as recorder:
        one(model, optimizer, x, [[1]])
    pixels = decode(recorder.run["0.weight"].png(unit=0, scale=1))[2, 2:-2].astype(int)
    unmoved = pixels[1000]
    assert not recorder.run["0.weight"].moved[1000, 0]
    assert (np.abs(np.delete(pixels, 1000, axis=0) - unmoved).max(axis=1) > 8).all()


@pytest.mark.parametrize("scale", [1, 3, 4])
def test_png_of_all_units(scale: int) -> None:
    """Without a unit all stand side by side, each pixel `scale` wide, and each as in its own
    picture.
    """
    history = pictured()
    sheet = decode(history.png(shape=(3, 4), scale=scale))
    assert sheet.shape == (2 + 3 * scale + 2, 2 + 3 * (4 * scale + 2), 3)
    for unit in range(3):
        left = 2 + unit * (4 * scale + 2)
        tile = sheet[2 : 2 + 3 * scale, left : left + 4 * scale]
        alone = decode(history.png(unit=unit, shape=(3, 4), scale=1))[2:5, 2:6]
        np.testing.assert_array_equal(tile, alone.repeat(scale, axis=0).repeat(scale, axis=1))


def test_pictures_of_the_whole_parameter() -> None:
    """Without unit and shape, a weight is drawn as it lies, and a bias as one row."""
    history = pictured()
    assert decode(history.png(scale=1)).shape == (12 + 4, 3 + 4, 3)
    assert len(history.picture().splitlines()) == 13
    run, _ = hand_made()
    assert run["0.bias"].picture().splitlines()[0][3] == "·"
    assert decode(run["0.bias"].png(scale=1)).shape == (5, 8, 3)


def test_pictures_are_checked() -> None:
    """A unit that is not there, or a shape that is not filled, is an error that says so."""
    history = pictured()
    for draw in (history.picture, history.png):
        with pytest.raises(RangeError, match="no unit 3"):
            draw(unit=3)
        with pytest.raises(ShapeError, match="do not fill"):
            draw(unit=0, shape=(5, 5))
    run, _ = hand_made()
    with pytest.raises(RangeError, match="no unit"):
        run["0.bias"].picture(unit=0)


def test_nothing_moved_at_all() -> None:
    """A parameter of which nothing moved is all `·`, and all of the color of unmoved entries."""
    model = mg.Sequential(mg.Dense(4, 2, rng=0))
    optimizer = mg.SGD(model, 0.1)
    with mg.Recorder(optimizer) as recorder:
        one(model, optimizer, [[0, 0, 0, 0]], [[1, 1]])
    history = recorder.run["0.weight"]
    assert history.picture(unit=0, shape=(2, 2)).splitlines()[:2] == ["··", "··"]
    pixels = decode(history.png(unit=0, shape=(2, 2), scale=1))[2:4, 2:4].reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) == 1
    assert not (pixels == 255).all()


def test_reports_of_a_float64_model() -> None:
    """The dtype stands in the report as it is."""
    model = network(3, 2, dtype=np.float64)
    with mg.Recorder(mg.SGD(model, 0.1)) as recorder:
        train(model, recorder.optimizer, 2, n_in=3)
    assert "0.weight (3, 2) float64: all 6 entries moved" in recorder.run.report()
    assert isinstance(bias(dense(model, 0)).value, np.ndarray)
    value: Array = recorder.run["0.bias"].final
    assert value.dtype == np.float64
