"""`show_config`: what this machine computes with, and what would make it faster."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minigrad._printable import printable

PROC = Path("/proc")  # where Linux describes processor and process; elsewhere it does not exist
SYS = Path("/sys")

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
CORETYPE = "OPENBLAS_CORETYPE"

# OpenBLAS's kernels by the x86-64 level they are written for: 3 has AVX2, 4 has AVX-512. The names
# are those of dynamic.c in its sources; about other names and other processors nothing is said.
_KERNELS = {
    2: "Prescott Core2 Penryn Dunnington Nehalem Sandybridge Atom Nano Athlon Opteron Barcelona "
    "Bobcat Bulldozer Piledriver Steamroller Excavator",
    3: "Haswell Zen",
    4: "SkylakeX Cooperlake SapphireRapids",
}
_LEVELS = {name.lower(): level for level, names in _KERNELS.items() for name in names.split()}
_VECTORS = {"AVX2": 3, "X86_V3": 3, "AVX512_SKX": 4, "X86_V4": 4}  # as versions of NumPy name them
_WIDEST = {3: ("AVX2", "Haswell"), 4: ("AVX-512", "SkylakeX")}


def show_config() -> None:
    """Print versions, processor, BLAS, the kernels and threads in use, and what would be faster.

    This is what to paste into an issue. Nothing is changed, and nothing is measured.
    """
    cores, blas, vectors = _cores(), _openblas(), _vectors()
    settings = {name: value for name in (*THREADS, CORETYPE) if (value := os.environ.get(name))}
    lines = [
        ("minigrad", _version()),
        ("NumPy", np.__version__),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("system", f"{platform.platform(terse=True)}, {platform.machine()}"),
        ("processor", _processor()),
        ("vectors", ", ".join(vectors) or "not known: NumPy does not say"),
        ("cores", str(cores)),
        ("BLAS", f"OpenBLAS {blas.version}" if blas else _built_with()),
        ("kernels", str(blas or "not known: only OpenBLAS says, and none was found")),
        ("set", ", ".join(map("=".join, settings.items())) or "nothing that concerns BLAS"),
        *(("advice", text) for text in _advice(blas, vectors, cores, settings)),
    ]
    for label, text in lines:
        print(f"{label:<10}{printable(text)}")


# -- advice ---------------------------------------------------------------------------------------


def _advice(
    blas: OpenBLAS | None, vectors: list[str], cores: Cores, settings: dict[str, str]
) -> Iterator[str]:
    """What would make this machine faster, each with the setting to try."""
    level = _LEVELS.get(blas.kernels.lower()) if blas else None
    possible = max((_VECTORS.get(name, 0) for name in vectors), default=0)
    if blas and level and level < possible:
        extension, kernels = _WIDEST[possible]
        unset = f"set {CORETYPE}=" if os.name == "nt" else f"env -u {CORETYPE}"
        setting = unset if CORETYPE in settings else f"{CORETYPE}={kernels}"
        yield (
            f"{blas.kernels} kernels make no use of this processor's {extension}; time your "
            f"program with `{setting}`"
        )
    asked = {name: int(settings[name]) for name in THREADS if settings.get(name, "").isdecimal()}
    variable = THREADS[0] if blas else max(asked, key=asked.__getitem__, default="")
    threads = blas.threads if blas else asked.get(variable, 1)
    if threads > cores.useful:
        share = "1 core" if cores.useful == 1 else f"{cores.useful} cores"
        yield f"{threads} threads share {share}; try `{variable}={cores.useful}`"
    elif threads > 1 and not asked:
        yield (
            f"small networks are often faster with `{variable}=1`; only the matrix products use "
            f"threads"
        )
    if sys.gettrace() is not None:
        yield (
            "a debugger or a coverage tool is tracing every line; without it a step takes a "
            "fraction of the time"
        )


# -- BLAS -----------------------------------------------------------------------------------------


class OpenBLAS(NamedTuple):
    """What OpenBLAS says of itself, whatever the environment asked it for.

    Attributes:
        kernels: The kernels it has chosen, named after a processor: "Haswell", "SkylakeX".
        threads: On how many threads it runs large products.
        version: Its version.
    """

    kernels: str
    threads: int
    version: str

    def __str__(self) -> str:
        return f"{self.kernels}, {self.threads} thread{'' if self.threads == 1 else 's'}"


def _openblas() -> OpenBLAS | None:
    """The OpenBLAS that NumPy computes with; None where there is none, or none to be found."""
    for file in _libraries():
        try:
            library = ctypes.CDLL(str(file))  # is loaded already, so this only finds it
        except OSError:
            continue
        for form in ("scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}"):
            try:
                kernels, threads, build = (
                    getattr(library, form.format(f"get_{what}"))
                    for what in ("corename", "num_threads", "config")
                )
            except AttributeError:
                continue
            kernels.restype = build.restype = ctypes.c_char_p
            words = build().decode().split()  # "OpenBLAS 0.3.31 USE64BITINT DYNAMIC_ARCH ..."
            version = next((word for word in words if word[0].isdigit()), "of unknown version")
            return OpenBLAS(kernels().decode(), threads(), version)
    return None


def _libraries() -> Iterator[Path]:
    """Files that may be OpenBLAS: what NumPy's wheel contains, or else what Linux has loaded."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        yield from sorted(folder.glob("*openblas*"))
    paths = (line.split(maxsplit=5)[-1] for line in _lines(PROC / "self" / "maps"))
    yield from (Path(path) for path in dict.fromkeys(paths) if "blas" in Path(path).name)


def _built_with() -> str:
    """The library that NumPy was built with, as NumPy says."""
    build: Any = np.show_config(mode="dicts")
    blas = build.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', '')} {blas.get('version', '')}".strip() or "not known"


# -- versions and the processor -------------------------------------------------------------------


class Cores(NamedTuple):
    """How many cores there are for this process.

    Attributes:
        usable: On how many logical cores it may run.
        physical: How many cores these are without hyperthreads; None where that is not known.
        quota: How many cores' time its container may use; None where no limit is known.
    """

    usable: int
    physical: int | None = None
    quota: float | None = None

    @property
    def useful(self) -> int:
        """How many threads can compute at full speed."""
        return max(
            1, int(min(self.usable, self.physical or self.usable, self.quota or self.usable))
        )

    def __str__(self) -> str:
        physical = "" if self.physical is None else f", {self.physical} physical"
        limit = "" if self.quota is None else f", time for {self.quota:g} (the container's limit)"
        return f"{self.usable} usable{physical}{limit}"


def _cores() -> Cores:
    """The cores that this process can use."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(os.cpu_count() or 1)
    usable = os.sched_getaffinity(0)
    topology = SYS / "devices" / "system" / "cpu"
    siblings = {
        tuple(_lines(topology / f"cpu{number}" / "topology" / "thread_siblings_list"))
        for number in usable
    }
    return Cores(len(usable), len(siblings) if all(siblings) else None, _quota())


def _quota() -> float | None:
    """How many cores' time this process may use: the tightest limit of its control groups."""
    root = SYS / "fs" / "cgroup"
    own = next((line[4:] for line in _lines(PROC / "self" / "cgroup") if line[:4] == "0::/"), "")
    limits = []
    for folder in (root / own, *(root / own).parents):
        # "150000 100000": microseconds of computing in each period; "max 100000": no limit
        quota, _, period = "".join(_lines(folder / "cpu.max")).partition(" ")
        if folder.is_relative_to(root) and quota.isdecimal() and period.isdecimal():
            limits.append(int(quota) / int(period))
    return min(limits, default=None)


def _processor() -> str:
    """The processor's name, as it would be written into an issue."""
    lines = (line for line in _lines(PROC / "cpuinfo") if line.startswith("model name"))
    return next(lines, "").partition(":")[2].strip() or platform.processor() or "not known"


def _vectors() -> list[str]:
    """The vector extensions of this processor that NumPy uses; versions name them differently."""
    build: Any = np.show_config(mode="dicts")
    extensions = build.get("SIMD Extensions", {})
    return [*extensions.get("baseline", []), *extensions.get("found", [])]


def _version() -> str:
    """The version of minigrad that is installed."""
    # not at the top: it takes longer to load than minigrad itself
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("minigrad")
    except PackageNotFoundError:
        return "not installed, used from a folder"


def _lines(file: Path) -> list[str]:
    """The lines of a small file; none, if it cannot be read."""
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
