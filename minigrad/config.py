"""`show_config`: what this machine computes with, and what would make it faster."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
_NARROW = {"HASWELL", "ZEN", "SANDYBRIDGE", "NEHALEM", "CORE2", "PRESCOTT"}  # OpenBLAS kernels without AVX-512


def show_config() -> None:
    """Print versions, BLAS, threads and vector extensions, and what would make this machine faster."""
    print(config())


def config() -> str:
    """What `show_config` prints."""
    settings = {name: value for name in (*_THREADS, "OPENBLAS_CORETYPE") if (value := os.environ.get(name))}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    lines = [
        f"minigrad  {_version()}",
        f"NumPy     {np.__version__}",
        f"Python    {platform.python_version()} ({platform.python_implementation()})",
        f"system    {platform.platform(terse=True)}, {platform.machine()}",
        f"cores     {cores} usable",
        f"vectors   {', '.join(_vector_extensions()) or 'not known'}",
        f"BLAS      {_blas()}",
        f"kernels   {_kernels()}",
        f"set       {', '.join(f'{name}={value}' for name, value in settings.items()) or 'nothing that concerns BLAS'}",
    ]
    return "\n".join([*lines, *(f"advice    {advice}" for advice in _advice(settings, cores))])


def _version() -> str:
    """The version that is installed."""
    from importlib.metadata import PackageNotFoundError, version  # not at the top: it takes longer than minigrad itself

    try:
        return version("minigrad")
    except PackageNotFoundError:
        return "not installed, used from a folder"


def _blas() -> str:
    """The library that NumPy was built with, as NumPy says."""
    shown: Any = np.show_config(mode="dicts")
    found = (shown or {}).get("Build Dependencies", {}).get("blas", {})
    return f"{found.get('name', 'not known')} {found.get('version', '')}".strip()


def _kernels() -> str:
    """Which of its kernels OpenBLAS has chosen, and on how many threads it runs: of the OpenBLAS that NumPy brings along."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for file in sorted(folder.glob("*openblas*")):
            try:
                library = ctypes.CDLL(str(file))  # is loaded already
            except OSError:
                continue
            for name in ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}"):
                chosen = getattr(library, name.format("get_corename"), None)
                threads = getattr(library, name.format("get_num_threads"), None)
                if chosen is not None and threads is not None:
                    chosen.restype = ctypes.c_char_p
                    return f"{chosen().decode()}, {threads()} thread{'' if threads() == 1 else 's'}"
    return "not known"


def _vector_extensions() -> list[str]:
    """The vector extensions of this processor that NumPy's own loops use."""
    shown: Any = np.show_config(mode="dicts")
    simd = (shown or {}).get("SIMD Extensions", {})
    return [*simd.get("baseline", []), *simd.get("found", [])]


def _advice(settings: dict[str, str], cores: int) -> list[str]:
    advice = []
    kernels = settings.get("OPENBLAS_CORETYPE", "")
    wide = any("AVX512" in name or name == "X86_V4" for name in _vector_extensions())
    if kernels:
        why = "it is narrower than this processor: " if kernels.upper() in _NARROW and wide else ""
        advice.append(
            f"OPENBLAS_CORETYPE={kernels} overrides OpenBLAS's own choice of kernels; {why}try `env -u OPENBLAS_CORETYPE`"
        )
    threads = [int(value) for name, value in settings.items() if name in _THREADS and value.isdigit()]
    if threads and max(threads) > cores:
        advice.append(f"{max(threads)} threads share {cores} cores; try OPENBLAS_NUM_THREADS={cores}")
    elif not threads and cores > 1:
        advice.append(
            "small networks are often faster with OPENBLAS_NUM_THREADS=1; only the matrix products use threads"
        )
    if sys.flags.optimize == 0 and sys.gettrace() is not None:
        advice.append(
            "a debugger or a coverage tool is tracing every line; without it a step takes a fraction of the time"
        )
    return advice
