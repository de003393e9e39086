"""Data that is read batch by batch: memory maps, of which what was read is given back, and images
kept as bytes.
"""

from __future__ import annotations

import mmap
import os
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from training_support import Act, Training, sgd

import minigrad as mg
from minigrad import data as data_module
from minigrad.arrays import Array

N, WIDTH = 60, 500


@pytest.fixture
def all_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every map were a large one, of which seven rows are read at a time."""
    monkeypatch.setattr(data_module, "_LARGE", 0)
    monkeypatch.setattr(data_module, "_FEW", 7)


def images(seed: int = 0) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Random bytes, and labels."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (N, WIDTH), np.uint8), rng.integers(0, 3, N)


def trained(
    x: npt.ArrayLike, y: npt.ArrayLike, validation: Any = None, scale: float | None = 1 / 255
) -> tuple[object, object]:
    """The bits and the history of a training with these data."""
    rng = np.random.default_rng(0)
    model = mg.Sequential(
        mg.Dense(WIDTH, 4, rng=rng), mg.Dropout(0.2, rng=rng), mg.Dense(4, 3, rng=rng)
    )
    data = mg.Batches(x, y, 16, rng=rng, scale=scale)
    training = Training(model, mg.SoftmaxCrossEntropy(), sgd(model), data)
    return training.fit(3, validation_data=validation), training.bits()


def saved(path: Path, array: npt.NDArray[Any], mode: Any = "r") -> npt.NDArray[Any]:
    """The array in a file, as a memory map."""
    np.save(path, array)
    found: npt.NDArray[Any] = np.load(path, mmap_mode=mode)
    return found


def resident(path: Path) -> int:
    """How many KB of a mapped file are in the memory of this process."""
    smaps = Path("/proc/self/smaps").read_text("utf-8")
    return sum(
        int(size)
        for size in re.findall(rf"{re.escape(str(path))}\n.*?\nRss: +(\d+) kB", smaps, re.DOTALL)
    )


# -- the same as in memory -----------------------------------------------------------------------


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_map_is_as_good_as_an_array(mode: str, tmp_path: Path) -> None:
    """Samples, targets and validation from files: the same bits and figures, and the files as
    before.
    """
    (x, y), (more, labels) = images(), images(1)
    arrays: list[npt.NDArray[Any]] = [x, y, more, labels]
    maps = [saved(tmp_path / f"{n}.npy", array, mode) for n, array in enumerate(arrays)]
    before = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    expected = trained(x, y, (more, labels))
    assert expected == trained(maps[0], maps[1], (maps[2], maps[3]))
    assert before == [path.read_bytes() for path in sorted(tmp_path.iterdir())]


@pytest.mark.usefixtures("all_are_large")
def test_views_of_maps(tmp_path: Path) -> None:
    """Slices, other shapes and orders of axes, and a map of raw bytes that begins later in its
    file.
    """
    x, y = images()
    raw = tmp_path / "raw"
    raw.write_bytes(b"header" + x.tobytes())
    twice = saved(tmp_path / "a.npy", np.repeat(x, 2, axis=0), "r")
    maps = {
        "every second": twice[::2],
        "turned": saved(tmp_path / "b.npy", x.T.copy(), "r").T,
        "reshaped": saved(tmp_path / "c.npy", x.ravel(), "r").reshape(N, WIDTH),
        "later": np.memmap(raw, np.uint8, "r", offset=6, shape=(N, WIDTH)),
        "of a view": np.asarray(twice)[::2][:, ::1],
    }
    expected = trained(x, y)
    for name, view in maps.items():
        assert expected == trained(view, y), name


# -- what is given back --------------------------------------------------------------------------


@pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="only Linux tells what is resident"
)
@pytest.mark.parametrize("large", [True, False])
def test_what_was_read_of_large_maps_is_given_back(
    large: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After training and validation hardly anything of the file is in memory.

    Of a small one, what was read stays.
    """
    monkeypatch.setattr(data_module, "_LARGE", 1 << 20 if large else 1 << 30)
    wide = np.ones((2000, 1000), np.uint8)
    mapped = saved(tmp_path / "a.npy", wide)
    model = mg.Sequential(mg.Dense(1000, 1, rng=0))
    data = mg.Batches(mapped, np.zeros((2000, 1)), 100, rng=0)
    mg.fit(model, mg.MeanSquaredError(), mg.SGD(model, 1e-9), data, epochs=1, validation_data=data)
    kilobytes = resident(tmp_path / "a.npy")
    assert kilobytes < 200 if large else kilobytes > 1500


@pytest.mark.usefixtures("all_are_large")
def test_private_changes_are_kept(tmp_path: Path) -> None:
    """A map of mode "c" is changed in memory alone: what is given back is lost, so nothing is."""
    x, y = images()
    private = saved(tmp_path / "a.npy", np.zeros_like(x), "c")
    private[:] = x
    for view in (private, private[:, ::1], np.asarray(private), private.reshape(N, WIDTH)):
        assert trained(x, y) == trained(view, y)
    assert x.tobytes() == private.tobytes()


@pytest.mark.usefixtures("all_are_large")
@pytest.mark.parametrize("mode", ["r+", "w+"])
def test_shared_changes_are_kept(mode: Any, tmp_path: Path) -> None:
    """Changes that were not written to the disk yet are not lost with what is given back."""
    x, y = images()
    np.save(tmp_path / "a.npy", np.zeros_like(x))
    shared = np.lib.format.open_memmap(tmp_path / "a.npy", mode, np.uint8, (N, WIDTH))
    shared[:] = x
    assert trained(x, y) == trained(shared, y)
    assert x.tobytes() == shared.tobytes() == np.load(tmp_path / "a.npy").tobytes()


@pytest.mark.usefixtures("all_are_large")
def test_maps_that_numpy_knows_nothing_of(tmp_path: Path) -> None:
    """An array over somebody's own map, private to a process, or of no file at all, keeps what is
    in it.
    """
    x, y = images()
    (tmp_path / "a").write_bytes(bytes(x.size))
    with (tmp_path / "a").open("rb") as file:
        own = [mmap.mmap(file.fileno(), x.size, access=mmap.ACCESS_COPY), mmap.mmap(-1, x.size)]
    if hasattr(mmap, "MAP_ANONYMOUS"):
        own.append(mmap.mmap(-1, x.size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
    for memory in own:
        for array in (
            np.ndarray(x.shape, np.uint8, memory),
            np.frombuffer(memory, np.uint8).reshape(x.shape),
        ):
            array[:] = x
            assert trained(x, y) == trained(array, y)
            assert x.tobytes() == array.tobytes()


@pytest.mark.skipif(
    os.name != "posix", reason="a file that is all hole takes its place on the disk elsewhere"
)
def test_data_larger_than_what_is_read(tmp_path: Path) -> None:
    """Of eight billion bytes only the batches of two steps, and what the check before them looks
    at, come into memory.
    """
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate(8_000_000_000)
    huge = np.memmap(path, np.float32, "r", shape=(200_000, 10_000))
    model = mg.Sequential(mg.Dense(10_000, 1, rng=0))
    data = mg.Batches(huge, np.zeros((200_000, 1), np.float32), 4, rng=0)
    tracemalloc.start()
    try:
        stop = Act(lambda event: event.stop("enough"), step=1)
        history = mg.fit(
            model, mg.MeanSquaredError(), mg.SGD(model, 0.1), data, epochs=1, hooks=[stop]
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "enough" == history.stopped
    assert peak < 150_000_000


# -- scale ---------------------------------------------------------------------------------------


class Seen(mg.Layer):
    """Keeps what it is given."""

    def __init__(self, dtype: npt.DTypeLike) -> None:
        self.weight = mg.Parameter(np.ones(1, dtype))
        self.inputs: list[Array] = []

    def forward(self, x: Array) -> Array:
        self.inputs.append(x)
        return x.astype(self.weight.dtype)

    def backward(self, grad: Array) -> Array:
        self.weight.grad = np.zeros(1)
        return grad


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float16, np.bool_, np.float32, np.float64])
def test_each_batch_is_scaled(kind: Any) -> None:
    """Times the scale in float32, or in the float that the samples are.

    The data stay as they are.
    """
    x = np.array([[0], [1], [51], [255]]).astype(kind)
    before = x.tobytes()
    expected_kind = kind if kind in (np.float32, np.float64) else np.float32
    expected = [[expected_kind(number) * expected_kind(1 / 255)] for number in x[:, 0].tolist()]
    layer = Seen(np.float64)
    data = mg.Batches(x, np.zeros((4, 1)), 2, shuffle=False, scale=1 / 255)
    mg.fit(
        layer,
        mg.MeanSquaredError(),
        mg.SGD(layer, 0.1),
        data,
        epochs=1,
        validation_data=(x, np.zeros((4, 1))),
    )
    assert {np.dtype(expected_kind)} == {seen.dtype for seen in layer.inputs}
    *_, first, second, validation = layer.inputs
    assert expected == np.concatenate([first, second]).tolist() == validation.tolist()
    assert before == x.tobytes()


def test_bytes_and_their_fractions_train_alike() -> None:
    """Bytes with a scale, and the same as fractions in float32, give the same bits."""
    x, y = images()
    fractions = x.astype(np.float32) * np.float32(1 / 255)
    assert trained(fractions, y, (fractions, y), None) == trained(x, y, (x, y))
