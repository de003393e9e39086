"""MNIST: 70,000 images of handwritten digits, by Y. LeCun, C. Cortes and C. J. C. Burges."""

from __future__ import annotations

import hashlib
import importlib
import os
from pathlib import Path
from types import ModuleType
from typing import Final, Literal, overload

import numpy as np
from numpy.typing import NDArray

from minigrad.datasets.idx import open_data, read_idx
from minigrad.errors import DataFileError, MissingExtraError

__all__ = ["load_mnist"]

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]

# The four original files, in the order in which their contents are returned, and their published
# MD5 sums.
FILES: Final = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
COUNTS: Final = (60_000, 10_000)  # images to train on, images to test with
MIRRORS: Final = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)


@overload
def load_mnist(
    root: str | os.PathLike[str] | None = None, *, raw: Literal[False] = False
) -> tuple[Floats, Labels, Floats, Labels]: ...
@overload
def load_mnist(
    root: str | os.PathLike[str] | None = None, *, raw: Literal[True]
) -> tuple[Bytes, Labels, Bytes, Labels]: ...
def load_mnist(
    root: str | os.PathLike[str] | None = None, *, raw: bool = False
) -> tuple[Floats | Bytes, Labels, Floats | Bytes, Labels]:
    """Load MNIST from its four original files, downloading those that are missing (11 MB in all).

    Each file is checked against its published MD5 sum, every time it is read.

    Args:
        root: The directory of the four files. If None or empty, it is the one that the environment
            variable `MINIGRAD_DATA` names, or else a cache directory of the user's.
        raw: Leave the pixels as bytes from 0 to 255; to scale them, multiply by 1/255.

    Returns:
        `x_train, y_train, x_test, y_test`. Images are float32 from 0 (paper) to 1 (ink), or uint8
        if `raw`, of shape (60000, 784) and (10000, 784); labels are int64 from 0 to 9, of shape
        (60000,) and (10000,).

    Raises:
        DataFileError: The directory does not exist, a file cannot be downloaded, or a file is not
            the original.
        MissingExtraError: A file has to be downloaded, and pooch is not installed.
    """
    directory = find_directory(root)
    for name, md5 in FILES.items():
        if not (directory / name).exists():
            download(name, md5, directory)
        check_md5(directory / name, md5)
    x_train, y_train, x_test, y_test = (read_idx(directory / name) for name in FILES)
    check_pair(x_train, y_train, COUNTS[0], f"{directory} (train)")
    check_pair(x_test, y_test, COUNTS[1], f"{directory} (t10k)")
    return (
        _pixels(x_train, raw),
        y_train.astype(np.int64),
        _pixels(x_test, raw),
        y_test.astype(np.int64),
    )


def find_directory(root: str | os.PathLike[str] | None) -> Path:
    """The directory of the files: `root`, or `$MINIGRAD_DATA`, or else the cache.

    The cache need not exist yet.

    Raises:
        DataFileError: The directory was named by the user, but does not exist.
        MissingExtraError: Only the cache remains, and pooch, which finds it, is not installed.
    """
    named = root or os.environ.get("MINIGRAD_DATA")
    if not named:
        pooch = _import_pooch("a directory, and set MINIGRAD_DATA to it or give it as `root`")
        return Path(pooch.os_cache("minigrad")).expanduser()
    directory = Path(named).expanduser()
    if not directory.is_dir():  # more likely a slip of the pen than a wish for a new directory
        origin = "root" if root else "the environment variable MINIGRAD_DATA"
        raise DataFileError(
            f"{origin} is {os.fspath(named)!r}, expected a directory for the files of MNIST; "
            "correct the path or create the directory"
        )
    return directory


def download(name: str, md5: str, directory: Path) -> None:
    """Download one file into a directory from the first mirror that has it.

    Raises:
        DataFileError: The directory cannot be written to, or every mirror failed.
        MissingExtraError: Pooch is not installed.
    """
    if directory.exists() and not os.access(directory, os.W_OK):
        raise DataFileError(
            f"{name} is not in {directory}, expected it there, or a directory that it can be "
            f"downloaded into, but this one is read-only; put the file there by hand or name "
            f"another directory"
        )
    pooch = _import_pooch(str(directory))
    failures = []
    for mirror in MIRRORS:
        try:
            # Pooch writes to a temporary file and renames it only when the hash is right: nothing
            # is left half-written.
            pooch.retrieve(mirror + name, known_hash=f"md5:{md5}", fname=name, path=directory)
            return
        except (
            OSError,
            ValueError,
        ) as error:  # no connection, no permission, disk full; or a wrong hash
            failures.append(f"{mirror}{name}: {error}")
    raise DataFileError(
        f"{name} is not in {directory}, and no mirror could deliver it with the MD5 sum {md5}; "
        f"put the file into {directory} by hand, or try again later. What happened: "
        f"{'; '.join(failures)}"
    )


def check_md5(path: Path, md5: str) -> None:
    """Check that a file is the published one.

    Raises a DataFileError if it is not, or if it cannot be read.
    """
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with open_data(path) as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    found = digest.hexdigest()
    if found != md5:
        raise DataFileError(
            f"{path}: found {size} bytes with the MD5 sum {found}, expected {md5}, the "
            f"original file of MNIST: this one is truncated, corrupt or a different one; delete "
            f"it, and it will be downloaded again"
        )


def check_pair(images: Bytes, labels: Bytes, count: int, where: str) -> None:
    """Check for `count` images of 28 x 28 pixels and as many labels from 0 to 9.

    Raises a DataFileError otherwise.
    """
    if images.shape != (count, 28, 28) or labels.shape != (count,) or labels.max() > 9:
        raise DataFileError(
            f"{where}: found images of shape {images.shape} and labels of shape {labels.shape} up "
            f"to {labels.max()}, expected ({count}, 28, 28) and ({count},) up to 9; replace the "
            f"files by the originals of MNIST"
        )


def _pixels(images: Bytes, raw: bool) -> Floats | Bytes:
    x = images.reshape(len(images), -1)
    return x if raw else np.divide(x, np.float32(255), dtype=np.float32)


def _import_pooch(place: str) -> ModuleType:
    """Import pooch only where it is needed: it is optional.

    `place` says where the files can be put without it.
    """
    try:
        return importlib.import_module("pooch")
    except ImportError as error:
        raise MissingExtraError(
            "MNIST has to be downloaded, which needs the library pooch, and pooch is not "
            "installed; either run "
            f'`pip install -e ".[data]"` in the checkout of minigrad, or put {", ".join(FILES)} '
            f"into {place}"
        ) from error
