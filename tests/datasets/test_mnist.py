from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from minigrad.datasets import load_mnist, mnist
from minigrad.errors import DataFileError, MissingExtraError

HAS_POOCH = importlib.util.find_spec("pooch") is not None
needs_pooch = pytest.mark.skipif(not HAS_POOCH, reason="pooch is not installed")
REAL_POOCH = importlib.import_module("pooch") if HAS_POOCH else None

NAMES = list(mnist.FILES)
IMAGES = np.arange(5 * 784, dtype=np.uint8).reshape(5, 28, 28)  # 0 to 255, over and over
LABELS = np.array([3, 0, 9, 1, 2], np.uint8)


def idx(array: NDArray[np.uint8]) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes(), mtime=0)


CONTENTS = dict(
    zip(NAMES, [idx(IMAGES[:3]), idx(LABELS[:3]), idx(IMAGES[3:]), idx(LABELS[3:])], strict=True)
)


@pytest.fixture(autouse=True)
def tiny_mnist(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three images to train on and two to test with be MNIST.

    `monkeypatch.undo()` restores the real one.
    """
    monkeypatch.delenv("MINIGRAD_DATA", raising=False)
    monkeypatch.setattr(mnist, "COUNTS", (3, 2))
    sums = {
        name: hashlib.md5(content, usedforsecurity=False).hexdigest()
        for name, content in CONTENTS.items()
    }
    monkeypatch.setattr(mnist, "FILES", sums)
    monkeypatch.setitem(
        sys.modules, "pooch", FakePooch()
    )  # no test goes to the network by accident


class FakePooch(SimpleNamespace):
    """Delivers CONTENTS from those mirrors that are up, and writes down what it was asked for."""

    def __init__(self, cache: Path | None = None, up: tuple[str, ...] = ()) -> None:
        super().__init__(cache=cache, up=up, asked=[])

    def os_cache(self, project: str) -> Path:
        assert project == "minigrad"
        assert self.cache is not None, "the test did not expect the cache to be used"
        return Path(self.cache)

    def retrieve(self, url: str, known_hash: str, fname: str, path: Path) -> str:
        self.asked.append(url)
        if not url.startswith(self.up or "nothing"):
            raise OSError("no route to host")
        assert known_hash == "md5:" + mnist.FILES[fname]
        path.mkdir(exist_ok=True)
        (path / fname).write_bytes(CONTENTS[fname])
        return str(path / fname)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, content in CONTENTS.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_reads_the_four_files_in_order(root: Path) -> None:
    """Images come as C-contiguous float32 in [0, 1], one row each, and labels as int64, training
    data first.
    """
    x_train, y_train, x_test, y_test = load_mnist(root)
    assert x_train.dtype == x_test.dtype == np.float32
    assert y_train.dtype == y_test.dtype == np.int64
    assert x_train.flags.c_contiguous
    assert np.array_equal(x_train, IMAGES[:3].reshape(3, 784).astype(np.float32) / np.float32(255))
    assert np.array_equal(x_test, IMAGES[3:].reshape(2, 784).astype(np.float32) / np.float32(255))
    assert (x_train.min(), x_train.max()) == (0, 1)
    assert y_train.tolist() == [3, 0, 9]
    assert y_test.tolist() == [1, 2]


def test_raw_are_bytes(root: Path) -> None:
    """Raw pixels are the bytes of the file, 0 to 255."""
    x_train, y_train, x_test, _ = load_mnist(str(root), raw=True)
    assert x_train.dtype == x_test.dtype == np.uint8
    assert np.array_equal(x_train, IMAGES[:3].reshape(3, 784))
    assert np.array_equal(x_test, IMAGES[3:].reshape(2, 784))
    assert y_train.dtype == np.int64


def test_environment_variable_names_the_directory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `root`, or with an empty one, the files are those in `$MINIGRAD_DATA`.

    An explicit `root` is stronger.
    """
    monkeypatch.setenv("MINIGRAD_DATA", str(root))
    assert load_mnist()[1].tolist() == [3, 0, 9]
    assert load_mnist("")[1].tolist() == [3, 0, 9]
    monkeypatch.setenv("MINIGRAD_DATA", "a directory that does not exist")
    assert load_mnist(root)[1].tolist() == [3, 0, 9]


@pytest.mark.parametrize("variable", [None, ""])
def test_cache_is_used_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    """Without `root` and with `$MINIGRAD_DATA` unset or empty, the files are downloaded into the
    cache, once.
    """
    if variable is not None:
        monkeypatch.setenv("MINIGRAD_DATA", variable)
    monkeypatch.chdir(tmp_path)  # an empty path would be this one
    pooch = FakePooch(cache=tmp_path / "cache", up=mnist.MIRRORS)
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    assert load_mnist()[3].tolist() == [1, 2]
    assert load_mnist()[3].tolist() == [1, 2]
    assert pooch.asked == [mnist.MIRRORS[0] + name for name in NAMES]
    assert {path.name for path in (tmp_path / "cache").iterdir()} == set(NAMES)


def test_only_missing_files_are_downloaded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is missing from a directory of one's own is downloaded into it, the second mirror
    after the first.
    """
    (root / NAMES[2]).unlink()
    pooch = FakePooch(up=mnist.MIRRORS[1:])
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    assert load_mnist(root)[3].tolist() == [1, 2]
    assert pooch.asked == [mirror + NAMES[2] for mirror in mnist.MIRRORS]


def test_all_mirrors_failing_says_what_to_do(tmp_path: Path) -> None:
    """When no mirror answers, the error names the file, every mirror and its answer, and the way by
    hand.
    """
    with pytest.raises(DataFileError) as caught:
        load_mnist(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{NAMES[0]} is not in {tmp_path}, and no mirror could deliver it")
    assert f"put the file into {tmp_path} by hand" in message
    for mirror in mnist.MIRRORS:
        assert f"{mirror}{NAMES[0]}: no route to host" in message


@needs_pooch
@pytest.mark.parametrize(
    "answer", [b"an error page", None], ids=["wrong content", "connection lost"]
)
def test_failed_download_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes | None
) -> None:
    """With the real pooch, a wrong or a broken download is refused, and no half-written file is
    left.
    """

    def download(url: str, path: str, _: object) -> None:
        Path(path).write_bytes(answer or CONTENTS[NAMES[0]][:10])
        if answer is None:
            raise ConnectionError("connection lost")

    monkeypatch.setitem(sys.modules, "pooch", REAL_POOCH)
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *args, **kwargs: download)
    reason = "does not match" if answer else "connection lost"
    with pytest.raises(DataFileError, match=f"(?s)no mirror could deliver it.*{reason}.*{reason}"):
        load_mnist(tmp_path)
    assert list(tmp_path.iterdir()) == []


@needs_pooch
def test_good_download_gets_the_original_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the real pooch, a good download ends up under the name of the original file."""

    def download(url: str, path: str, _: object) -> None:
        Path(path).write_bytes(CONTENTS[url.rpartition("/")[2]])

    monkeypatch.setitem(sys.modules, "pooch", REAL_POOCH)
    monkeypatch.setattr("pooch.core.choose_downloader", lambda *args, **kwargs: download)
    name = NAMES[1]
    mnist.download(
        name, hashlib.md5(CONTENTS[name], usedforsecurity=False).hexdigest(), tmp_path / "new"
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]
    assert (tmp_path / "new" / name).read_bytes() == CONTENTS[name]


def test_read_only_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file missing from a read-only directory gives an error at once, without asking any
    mirror.
    """
    monkeypatch.setattr(os, "access", lambda path, mode: not (path == tmp_path and mode == os.W_OK))
    pooch = FakePooch(up=mnist.MIRRORS)
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    with pytest.raises(DataFileError, match=r"read-only; put the file there by hand") as caught:
        load_mnist(tmp_path)
    assert f"{NAMES[0]} is not in {tmp_path}" in str(caught.value)
    assert pooch.asked == []


def test_without_pooch_files_that_are_there_suffice(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the four files does not need pooch."""
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert load_mnist(root)[1].tolist() == [3, 0, 9]


@pytest.mark.parametrize("given", [True, False], ids=["root", "cache"])
def test_without_pooch_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: bool
) -> None:
    """Without pooch, the error says how to install it from the checkout, and which files to put
    where instead.
    """
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingExtraError) as caught:
        load_mnist(tmp_path if given else None)
    message = str(caught.value)
    assert '`pip install -e ".[data]"`' in message
    assert "pip install minigrad" not in message
    assert all(name in message for name in NAMES)
    assert message.endswith(
        f"into {tmp_path}" if given else "set MINIGRAD_DATA to it or give it as `root`"
    )


def test_directory_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistyped directory is an error that says where the name came from; it is not created."""
    missing = tmp_path / "mnits"
    with pytest.raises(DataFileError, match=r"^root is '.*mnits', expected a directory"):
        load_mnist(missing)
    monkeypatch.setenv("MINIGRAD_DATA", str(missing))
    with pytest.raises(
        DataFileError, match=r"^the environment variable MINIGRAD_DATA is '.*mnits'"
    ):
        load_mnist()
    assert not missing.exists()


@pytest.mark.parametrize("name", NAMES)
def test_every_file_is_checked(root: Path, name: str) -> None:
    """A truncated file is refused by name, with its sum and the published one, and left for the
    user to delete.
    """
    (root / name).write_bytes(CONTENTS[name][:-1])
    with pytest.raises(
        DataFileError, match="truncated, corrupt or a different one; delete it"
    ) as caught:
        load_mnist(root)
    message = str(caught.value)
    assert message.startswith(
        f"{root / name}: found {len(CONTENTS[name]) - 1} bytes with the MD5 sum "
    )
    assert f"expected {mnist.FILES[name]}" in message
    assert (root / name).exists()


def test_md5(tmp_path: Path) -> None:
    """The sums are those of RFC 1321, the standard for MD5: of "abc", and of nothing at all."""
    (tmp_path / "file").write_bytes(b"abc")
    mnist.check_md5(tmp_path / "file", "900150983cd24fb0d6963f7d28e17f72")
    with pytest.raises(
        DataFileError, match="found 3 bytes with the MD5 sum 900150983cd24fb0d6963f7d28e17f72, exp"
    ):
        mnist.check_md5(tmp_path / "file", "d41d8cd98f00b204e9800998ecf8427e")


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (IMAGES[:4], LABELS),
        (IMAGES, LABELS[:4]),
        (IMAGES[:4], LABELS[:4]),
        (IMAGES[:, :27], LABELS),
        (IMAGES.reshape(5, 784), LABELS),
        (IMAGES, LABELS[:, np.newaxis]),
        (IMAGES, LABELS + np.uint8(1)),
    ],
    ids=[
        "images short",
        "labels short",
        "both short",
        "27 x 28",
        "flat images",
        "label column",
        "label 10",
    ],
)
def test_shapes_and_labels_are_checked(
    images: NDArray[np.uint8], labels: NDArray[np.uint8]
) -> None:
    """Images and labels that are not as many as expected, not 28 x 28 or not 0 to 9 are refused."""
    mnist.check_pair(IMAGES, LABELS, 5, "here")
    with pytest.raises(
        DataFileError,
        match=r"^here: found images of shape .* expected \(5, 28, 28\) and \(5,\) up to",
    ):
        mnist.check_pair(images, labels, 5, "here")


@pytest.mark.parametrize("counts", [(4, 2), (3, 3)])
def test_both_parts_are_checked(
    root: Path, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, int]
) -> None:
    """The numbers of images are checked in the training and in the test part."""
    monkeypatch.setattr(mnist, "COUNTS", counts)
    with pytest.raises(
        DataFileError, match=r"\(train\): found" if counts[0] == 4 else r"\(t10k\): found"
    ):
        load_mnist(root)


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("MINIGRAD_DATA"), reason="MINIGRAD_DATA does not name a directory with MNIST"
)
def test_the_real_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original MNIST files load, with the numbers of images and the first labels that everybody
    knows.
    """
    monkeypatch.undo()  # away with the tiny files ...
    monkeypatch.setitem(sys.modules, "pooch", None)  # ... but still no network
    x_train, y_train, x_test, y_test = load_mnist()
    assert (x_train.shape, x_test.shape) == ((60_000, 784), (10_000, 784))
    assert (x_train.min(), x_train.max()) == (0, 1)
    assert y_train[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert y_test[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert np.bincount(y_test).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert x_train.mean() == pytest.approx(
        0.1307, abs=1e-4
    )  # the mean that is commonly used to normalise
