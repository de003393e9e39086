"""OpenBLAS, asked itself: what it says counts, and not what the environment asked it for."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

MAPS = Path("/proc/self/maps")  # Linux lists there what a process has loaded
NAMES = (
    "scipy_openblas_{}64_",
    "scipy_openblas_{}",
    "openblas_{}64_",
    "openblas_{}",
)  # builds differ in them


class OpenBLAS(NamedTuple):
    """What OpenBLAS says of itself.

    Attributes:
        kernels: The set of kernels that it has chosen, named after a processor: "Haswell",
            "SkylakeX".
        threads: On how many threads it runs large products.
        version: Its version.
    """

    kernels: str
    threads: int
    version: str


def loaded() -> OpenBLAS | None:
    """The OpenBLAS that NumPy computes with; None where there is none, or none to be found."""
    for file in _libraries():
        try:
            library = ctypes.CDLL(str(file))  # is loaded already, so this only finds it
        except OSError:
            continue
        for name in NAMES:
            corename = getattr(library, name.format("get_corename"), None)
            threads = getattr(library, name.format("get_num_threads"), None)
            built = getattr(library, name.format("get_config"), None)
            if corename is not None and threads is not None and built is not None:
                corename.restype = built.restype = ctypes.c_char_p
                return OpenBLAS(corename().decode(), threads(), _version(built().decode()))
    return None


def _libraries() -> Iterator[Path]:
    """The files in which it may be: what NumPy's wheels bring along, or else what the process has loaded."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        yield from sorted(folder.glob("*openblas*"))
    try:
        lines = MAPS.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    paths = (line.split(maxsplit=5)[-1] for line in lines)
    yield from (Path(path) for path in dict.fromkeys(paths) if "blas" in Path(path).name)


def _version(built: str) -> str:
    """The version in the words of `openblas_get_config`: "OpenBLAS 0.3.31 USE64BITINT DYNAMIC_ARCH ..."."""
    return next((word for word in built.split() if word[0].isdigit()), "of unknown version")
