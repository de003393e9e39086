"""`show_config`: what this machine computes with, and what would make it faster."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import minigrad as mg
from minigrad import config

LABELS = [
    "minigrad",
    "NumPy",
    "Python",
    "system",
    "processor",
    "vectors",
    "cores",
    "BLAS",
    "kernels",
    "set",
]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*config.THREADS, config.CORETYPE]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "gettrace", lambda: None)  # also while coverage is measured


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[str], list[str]]:
    """What `show_config` prints after a label, each line."""

    def lines(label: str) -> list[str]:
        capsys.readouterr()
        mg.show_config()
        return [
            line[10:] for line in capsys.readouterr().out.splitlines() if line[:10].strip() == label
        ]

    return lines


Printed = Callable[[str], list[str]]


class Machine:
    """A machine that is made up: its files, its BLAS, and what NumPy says of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._monkeypatch, self.folder = monkeypatch, folder
        self.libraries: dict[str, SimpleNamespace] = {}
        monkeypatch.setattr(config, "PROC", folder / "proc")
        monkeypatch.setattr(config, "SYS", folder / "sys")
        monkeypatch.setattr(np, "__file__", str(folder / "numpy" / "__init__.py"))
        monkeypatch.setattr(ctypes, "CDLL", self.libraries.__getitem__)
        monkeypatch.setattr(platform, "processor", lambda: "")
        self.processor(["X86_V2"])

    def write(self, name: str, text: str) -> Path:
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def processor(self, vectors: list[str], blas: str = "accelerate") -> None:
        found = {
            "SIMD Extensions": {"baseline": vectors[:1], "found": vectors[1:]},
            "Build Dependencies": {"blas": {"name": blas, "version": "1.0"}},
        }
        self._monkeypatch.setattr(np, "show_config", lambda mode: found)

    def openblas(
        self,
        kernels: str,
        threads: int = 1,
        form: str = "openblas_{}",
        file: str = "numpy.libs/libopenblas.so",
    ) -> None:
        functions = {
            "get_corename": lambda: kernels.encode(),
            "get_num_threads": lambda: threads,
            "get_config": lambda: b"OpenBLAS 0.3.21 DYNAMIC_ARCH NO_AFFINITY MAX_THREADS=64",
        }
        self.libraries[str(self.write(file, ""))] = SimpleNamespace(
            **{form.format(name): function for name, function in functions.items()}
        )

    def cores(self, usable: int, physical: int, quota: str = "max 100000\n") -> None:
        for number in range(usable):
            siblings = f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
            self.write(siblings, f"{number % physical}\n")
        self.write("proc/self/cgroup", "0::/a/b\n")
        self.write("sys/fs/cgroup/a/cpu.max", quota)
        self._monkeypatch.setattr(
            os, "sched_getaffinity", lambda pid: set(range(usable)), raising=False
        )


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    return Machine(monkeypatch, tmp_path)


# -- this machine --------------------------------------------------------------------------------


def test_it_prints_what_one_pastes_into_an_issue(capsys: pytest.CaptureFixture[str]) -> None:
    """Versions, system, processor, vectors, cores, BLAS, each after its label, in this order."""
    mg.show_config()
    printed = capsys.readouterr().out
    for text in (np.__version__, platform.python_version(), platform.machine()):
        assert text in printed
    lines = printed.splitlines()
    assert LABELS == [line[:10].rstrip() for line in lines][: len(LABELS)]
    assert {"advice"} >= {line[:10].rstrip() for line in lines[len(LABELS) :]}


def test_threads_are_those_of_the_blas_that_is_loaded() -> None:
    """A process that is told how many threads to use says so, where its BLAS tells."""
    done = subprocess.run(
        [sys.executable, "-c", "import minigrad; minigrad.show_config()"],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())},
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"^kernels   (.*, 1 thread|not known.*)$", done.stdout, re.MULTILINE)
    assert "OPENBLAS_NUM_THREADS=1" in done.stdout


# -- what is found out ---------------------------------------------------------------------------


def test_where_nothing_can_be_found_out_it_says_so(
    machine: Machine, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No files to read, no OpenBLAS, no affinity: each line is there, and says so."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    monkeypatch.setattr(np, "show_config", lambda mode: {})
    assert ["not known"] == printed("processor")
    assert ["not known: NumPy does not say"] == printed("vectors")
    assert ["1 usable"] == printed("cores")
    assert ["not known"] == printed("BLAS")
    assert ["not known: only OpenBLAS says, and none was found"] == printed("kernels")
    assert ["nothing that concerns BLAS"] == printed("set")
    assert [] == printed("advice")


@pytest.mark.parametrize(
    "form", ["scipy_openblas_{}64_", "scipy_openblas_{}", "openblas_{}64_", "openblas_{}"]
)
@pytest.mark.parametrize("folder", ["numpy.libs", "numpy/.dylibs"])
def test_the_openblas_of_a_wheel_is_asked(
    form: str, folder: str, machine: Machine, printed: Printed
) -> None:
    """It lies beside NumPy, or inside it on macOS, and builds name its functions differently."""
    machine.openblas("Zen", 3, form, f"{folder}/libscipy_openblas64_-1a2b.so")
    assert ["Zen, 3 threads"] == printed("kernels")
    assert ["OpenBLAS 0.3.21"] == printed("BLAS")


def test_the_openblas_of_the_system_is_asked(machine: Machine, printed: Printed) -> None:
    """On Linux it is found among what the process has loaded, whatever the file is called."""
    machine.openblas("Zen", 1, file="open blas/libblas.so.3")
    file = machine.folder / "open blas" / "libblas.so.3"
    machine.libraries["/usr/lib/libcblas.so.3"] = SimpleNamespace()
    machine.write(
        "proc/self/maps",
        "7f01-7f02 r--p 00000000 08:01 43    /usr/lib/libcblas.so.3\n"
        "7f02-7f03 r--p 00000000 08:01 44    /usr/lib/blas-less/libm.so.6\n"
        f"7f03-7f04 r--p 00000000 08:01 45    {file}\n"
        "7f05-7f06 rw-p 00000000 00:00 0\n",
    )
    assert ["Zen, 1 thread"] == printed("kernels")


def test_another_blas_is_named_as_numpy_names_it(machine: Machine, printed: Printed) -> None:
    """What NumPy was built with is what it computes with, unless an OpenBLAS stands in for it."""
    assert ["accelerate 1.0"] == printed("BLAS")


def test_the_processor_has_its_name(machine: Machine, printed: Printed) -> None:
    """As Linux says, with everything that belongs to it."""
    machine.write("proc/cpuinfo", "processor\t: 0\nmodel\t: 17\nmodel name\t: AMD EPYC 9: odd\n")
    assert ["AMD EPYC 9: odd"] == printed("processor")


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000\n", "8 usable, 4 physical"),
        ("150000 100000\n", "8 usable, 4 physical, time for 1.5 (the container's limit)"),
        ("nonsense\n", "8 usable, 4 physical"),
    ],
)
def test_cores_are_counted_without_hyperthreads_and_within_the_limit(
    quota: str, expected: str, machine: Machine, printed: Printed
) -> None:
    """Also where the limit is that of a group around the process's own."""
    machine.cores(8, 4, quota)
    assert [expected] == printed("cores")


@pytest.mark.parametrize("name", config.THREADS)
@pytest.mark.parametrize("value", ["1", "many", "4,2"])
def test_settings_are_shown_as_they_are(
    name: str, value: str, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variable that limits threads is shown, also if its value is no number."""
    monkeypatch.setenv(name, value)
    assert [f"{name}={value}"] == printed("set")


# -- advice --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernels", "vectors", "coretype", "expected"),
    [
        ("Haswell", ["X86_V3", "X86_V4"], "", "AVX-512; .* `OPENBLAS_CORETYPE=SkylakeX`"),
        ("Haswell", ["AVX2", "AVX512_SKX"], "Haswell", "AVX-512; .* `.*OPENBLAS_CORETYPE=?`"),
        ("Nehalem", ["X86_V2", "X86_V3"], "", "AVX2; .* `OPENBLAS_CORETYPE=Haswell`"),
        ("SkylakeX", ["X86_V3", "X86_V4"], "", None),
        ("Zen", ["AVX2", "AVX512F"], "", None),  # too little of AVX-512 for any kernels
        ("Haswell", ["X86_V2", "X86_V3"], "Haswell", None),
        ("Zen9", ["X86_V3", "X86_V4"], "Zen9", None),  # of which nothing is known
        ("neoversev1", ["NEON", "SVE"], "", None),
    ],
)
def test_kernels_narrower_than_the_processor_are_pointed_out(
    kernels: str,
    vectors: list[str],
    coretype: str,
    expected: str | None,
    machine: Machine,
    printed: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the setting to try: the variable unset where somebody has set it, set otherwise."""
    machine.processor(vectors)
    machine.openblas(kernels)
    monkeypatch.setenv(config.CORETYPE, coretype)
    advice = printed("advice")
    assert (expected is not None) == bool(advice)
    if expected is not None:
        pattern = f"{kernels} kernels make no use of this processor's {expected}"
        assert re.fullmatch(pattern, advice[0])


@pytest.mark.parametrize(
    ("threads", "cores", "settings", "expected"),
    [
        (4, (4, 4), {}, "small networks are often faster with `OPENBLAS_NUM_THREADS=1`"),
        (8, (8, 4), {}, "8 threads share 4 cores; try `OPENBLAS_NUM_THREADS=4`"),
        (2, (8, 8, "150000 100000"), {}, "2 threads share 1 core; try `OPENBLAS_NUM_THREADS=1`"),
        (64, (4, 4), {"OMP_NUM_THREADS": "64"}, "64 threads share 4 cores"),
        (4, (4, 4), {"OMP_NUM_THREADS": "64"}, None),  # BLAS says itself how many it uses
        (1, (4, 4), {}, None),
        (None, (4, 4), {}, None),
        (None, (4, 4), {"MKL_NUM_THREADS": "16"}, "16 threads share 4 cores; try `MKL_NUM_"),
        (None, (4, 4), {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "5"}, "5 threads share 4"),
        (None, (4, 4), {"OMP_NUM_THREADS": "many"}, None),
    ],
)
def test_threads_that_outnumber_the_cores_are_pointed_out(
    threads: int | None,
    cores: tuple[int, int] | tuple[int, int, str],
    settings: dict[str, str],
    expected: str | None,
    machine: Machine,
    printed: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The number of threads is what BLAS says, or else what the variables ask for."""
    machine.cores(*cores)
    if threads is not None:
        machine.openblas("Haswell", threads)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    advice = printed("advice")
    assert (expected is not None) == bool(advice)
    assert advice == [] or advice[0].startswith(expected or "")


def test_tracing_is_pointed_out(
    machine: Machine, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A debugger makes each line of Python slow."""
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    (advice,) = printed("advice")
    assert "tracing every line" in advice
