"""What would make this machine faster, each with the line to try and, where it can be measured, what it is worth."""

from __future__ import annotations

import os
import sys

from minigrad.config.machine import Cores
from minigrad.config.openblas import OpenBLAS
from minigrad.config.product import SIZE, in_turn

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
CORETYPE = "OPENBLAS_CORETYPE"
UNSET = f"set {CORETYPE}=" if os.name == "nt" else f"env -u {CORETYPE}"

# OpenBLAS's sets of kernels by the level of x86-64 that they are written for: 3 has AVX2, 4 has
# AVX-512; what has less is 2 here. The names are those of dynamic.c in its sources, where one sees
# too that it takes SkylakeX's (or Cooperlake's) on AMD's Zen 4 and 5, and that Haswell's run on
# every Zen. Of other names, and other kinds of processor, nothing is said.
_NAMES = {
    2: "Katmai Coppermine Northwood Prescott Banias Atom Core2 Penryn Dunnington Nehalem Athlon Opteron Opteron_SSE3 "
    "Barcelona Nano Sandybridge Bobcat Bulldozer Piledriver Steamroller Excavator",
    3: "Haswell Zen",
    4: "SkylakeX Cooperlake SapphireRapids",
}
LEVELS = {name.lower(): level for level, names in _NAMES.items() for name in names.split()}
KERNELS = {3: "Haswell", 4: "SkylakeX"}  # the set of each level that every OpenBLAS has
EXTENSIONS = {3: "AVX2", 4: "AVX-512"}
PROCESSORS = {
    "AVX2": 3,
    "X86_V3": 3,
    "AVX512_SKX": 4,
    "X86_V4": 4,
}  # by the names that NumPy has for them


def about_kernels(
    openblas: OpenBLAS | None, extensions: list[str], forced: str | None
) -> list[tuple[str, str]]:
    """What to try if the kernels in use are narrower than the processor allows; measured, which
    takes a second.

    Args:
        openblas: What OpenBLAS says of itself, where there is one.
        extensions: The processor's vector extensions, as NumPy calls them.
        forced: The value of OPENBLAS_CORETYPE, where it is set.

    Returns:
        (label, text) of each line.
    """
    level = LEVELS.get(openblas.kernels.lower()) if openblas else None
    possible = max((PROCESSORS.get(name, 0) for name in extensions), default=0)
    if openblas is None or level is None or level >= possible:
        return []
    narrow = f"{openblas.kernels} kernels make no use of this processor's {EXTENSIONS[possible]}"
    plain = {name: value for name, value in os.environ.items() if name != CORETYPE}
    trials = [(f"{CORETYPE}={KERNELS[possible]}", {**plain, CORETYPE: KERNELS[possible]})]
    for line, environment in [(UNSET, plain), *trials] if forced else trials:
        now, then = in_turn({**plain, CORETYPE: openblas.kernels}, environment)
        if now is None:
            return [
                ("advice", f"{narrow}; try `{line}`"),
                ("measured", "nothing: no second process could be run"),
            ]
        if then is None or LEVELS.get(then.kernels.lower(), 0) <= level:
            continue  # this OpenBLAS has no such kernels, or the system does not allow them
        ratio = now.seconds / then.seconds
        worth = (
            f"try `{line}`"
            if ratio > 1.05
            else f"those of {then.kernels} (`{line}`) are no faster here"
        )
        measured = (
            f"a product of two {SIZE} x {SIZE} matrices took {ratio:.2f} times as long with "
            f"{now.kernels} kernels as with {then.kernels}, on one thread"
        )
        return [("advice", f"{narrow}; {worth}"), ("measured", measured)]
    return [
        ("advice", f"{narrow}, and this OpenBLAS has none that do; a newer NumPy may bring one")
    ]


def about_threads(
    openblas: OpenBLAS | None, cores: Cores, settings: dict[str, str]
) -> list[tuple[str, str]]:
    """What to try if more threads are in use than there are cores for them.

    Args:
        openblas: What OpenBLAS says of itself, where there is one.
        cores: The cores that this process can use.
        settings: Those of the variables in `THREADS` that are set.
    """
    asked = {
        name: int(value)
        for name, value in settings.items()
        if name in THREADS and value.isdecimal()
    }
    if openblas:
        variable, threads = THREADS[0], openblas.threads
    elif asked:
        variable, threads = max(asked.items(), key=lambda item: item[1])
    else:
        return []
    if threads > cores.useful:
        share = "1 core" if cores.useful == 1 else f"{cores.useful} cores"
        return [("advice", f"{threads} threads share {share}; try {variable}={cores.useful}")]
    if threads > 1 and not asked:
        only = f"small networks are often faster with {variable}=1; only the matrix products use threads"
        return [("advice", only)]
    return []


def about_tracing() -> list[tuple[str, str]]:
    """What to know if each line of Python is being watched."""
    if sys.gettrace() is None:
        return []
    watched = "a debugger or a coverage tool is tracing every line; without it a step takes a fraction of the time"
    return [("advice", watched)]
