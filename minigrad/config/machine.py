"""The processor: its name, its vector extensions, and how many of its cores this process can use."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

# Where Linux tells; elsewhere there are no such files, and nothing is known.
CPUINFO = Path("/proc/cpuinfo")
TOPOLOGY = Path("/sys/devices/system/cpu")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


class Cores(NamedTuple):
    """How many cores there are for this process.

    Attributes:
        usable: On how many logical cores it may run.
        physical: How many cores these are, where one may be two logical ones; None where that is
            not known.
        quota: How many cores' time its container may use; None where there is no limit, or none to
            be found.
    """

    usable: int
    physical: int | None = None
    quota: float | None = None

    @property
    def useful(self) -> int:
        """How many threads can compute at full speed."""
        physical = self.usable if self.physical is None else self.physical
        return max(1, min(physical, self.usable if self.quota is None else int(self.quota)))

    def __str__(self) -> str:
        physical = f", {self.physical} physical" if self.physical is not None else ""
        quota = (
            f", time for {self.quota:g} (the container's limit)" if self.quota is not None else ""
        )
        return f"{self.usable} usable{physical}{quota}"


def cores() -> Cores:
    """The cores that this process can use."""
    if hasattr(os, "sched_getaffinity"):
        numbers = os.sched_getaffinity(0)
        return Cores(len(numbers), _physical(numbers), _quota())
    return Cores(os.cpu_count() or 1)


def processor() -> str:
    """The processor's name, as it would be written into an issue."""
    named = [
        line.partition(":")[2].strip() for line in _lines(CPUINFO) if line.startswith("model name")
    ]
    return next(iter(named), "") or platform.processor() or "not known"


def numpy_says() -> dict[str, Any]:
    """What NumPy tells of itself and this machine; nothing, where it cannot."""
    try:
        said: Any = np.show_config(mode="dicts")
    except Exception:
        return {}
    return said if isinstance(said, dict) else {}


def extensions() -> list[str]:
    """The vector extensions of this processor that NumPy's own loops use.

    Its names for them differ between versions.
    """
    known = numpy_says().get("SIMD Extensions", {})
    return [*known.get("baseline", []), *known.get("found", [])]


def _physical(numbers: set[int]) -> int | None:
    """How many cores these logical ones are: those that share one name each other as siblings."""
    siblings = [
        _lines(TOPOLOGY / f"cpu{number}" / "topology" / "thread_siblings_list")
        for number in numbers
    ]
    return len({tuple(lines) for lines in siblings}) if all(siblings) else None


def _quota() -> float | None:
    """How many cores' time this process may use: the tightest limit of its control groups and those around them."""
    limits = [limit for folder in _groups() if (limit := _limit(folder)) is not None]
    return min(limits, default=None)


def _groups() -> Iterator[Path]:
    """The folders of this process's control groups.

    Inside a container its own group is the root.
    """
    for line in _lines(OWN_CGROUPS):
        controllers, _, path = line.partition(":")[2].partition(
            ":"
        )  # "0::/path", of version 1 "4:cpu,cpuacct:/path"
        if controllers == "" or "cpu" in controllers.split(","):
            root = CGROUPS / "cpu" if controllers else CGROUPS
            own = root / path.strip("/")
            yield from (own, *(folder for folder in own.parents if folder.is_relative_to(root)))


def _limit(folder: Path) -> float | None:
    """The limit of one control group: microseconds of computing in each period of so many microseconds."""
    said = _lines(folder / "cpu.max") or _lines(folder / "cpu.cfs_quota_us") + _lines(
        folder / "cpu.cfs_period_us"
    )
    try:
        quota, period = map(int, " ".join(said).split())
    except ValueError:  # no such files, or "max": no limit
        return None
    return quota / period if quota > 0 else None


def _lines(file: Path) -> list[str]:
    """The lines of a small file; none, if it cannot be read."""
    try:
        return file.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
