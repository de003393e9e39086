"""`show_config`: what this machine computes with, and what would make it faster.

Also where nothing can be found out.
"""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minigrad as mg
from minigrad.config import advice, config, machine, openblas, product, show
from minigrad.config.machine import Cores
from minigrad.config.openblas import OpenBLAS
from minigrad.config.product import Product

WIDE, MIDDLE, OLD = ["X86_V2", "X86_V3", "X86_V4"], ["X86_V2", "X86_V3"], ["X86_V2"]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*advice.THREADS, "OPENBLAS_CORETYPE"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(advice, "UNSET", "env -u OPENBLAS_CORETYPE")  # on Windows, too


def blas(kernels: str = "Haswell", threads: int = 4) -> OpenBLAS:
    return OpenBLAS(kernels, threads, "0.3.30")


def line(label: str) -> str:
    """The line of `config()` with this label."""
    found = re.search(rf"^{label:<10}(.*)$", config(), re.MULTILINE)
    assert found is not None, label
    return found[1]


# -- as a whole ----------------------------------------------------------------------------------


def test_it_prints_the_versions(capsys: pytest.CaptureFixture[str]) -> None:
    """What one pastes into an issue: versions, system, processor, vectors, cores, BLAS.

    A label before each.
    """
    mg.show_config()
    printed = capsys.readouterr().out
    try:
        version = metadata.version("minigrad")
    except metadata.PackageNotFoundError:
        version = "not installed"
    for part in (
        version,
        np.__version__,
        platform.python_version(),
        platform.machine(),
        "cores",
        "BLAS",
    ):
        assert part in printed
    assert "nothing that concerns BLAS" in printed
    labels = [
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
    assert labels == [row[:10].rstrip() for row in printed.splitlines()][: len(labels)]
    assert all(row[9] == " " for row in printed.splitlines())


def test_where_nothing_can_be_found_out_it_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No files to read, a NumPy that tells nothing, no OpenBLAS, no affinity: each line is there,
    and says so.
    """

    def failing(mode: str) -> None:
        raise ValueError(mode)

    monkeypatch.setattr(np, "show_config", failing)
    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setattr(openblas, "MAPS", tmp_path / "maps")
    for name in ("CPUINFO", "TOPOLOGY", "OWN_CGROUPS", "CGROUPS"):
        monkeypatch.setattr(machine, name, tmp_path / "nowhere")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert "not known" == line("processor")
    assert "not known: NumPy does not say" == line("vectors")
    assert "1 usable" == line("cores")
    assert "not known: NumPy does not say" == line("BLAS")
    assert "not known: only OpenBLAS says which it uses, and none was found" == line("kernels")
    assert "advice" not in config() or sys.gettrace() is not None


@pytest.mark.parametrize(
    ("said", "found", "expected"),
    [
        ({"name": "scipy-openblas", "version": "0.3.30"}, blas(), "scipy-openblas 0.3.30"),
        (
            {"name": "blas", "version": "3.11.0"},
            blas(),
            "OpenBLAS 0.3.30",
        ),  # Debian's: chosen when NumPy is loaded
        ({"name": "accelerate", "version": "unknown"}, None, "accelerate unknown"),
        ({"name": "mkl"}, None, "mkl"),
        ({}, None, "not known: NumPy does not say"),
    ],
)
def test_the_blas_in_use_is_named(
    said: dict[str, str], found: OpenBLAS | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What NumPy was built with, or the OpenBLAS that stands in for it."""
    monkeypatch.setattr(machine, "numpy_says", lambda: {"Build Dependencies": {"blas": said}})
    monkeypatch.setattr(show, "loaded", lambda: found)
    assert expected == line("BLAS")


def test_kernels_in_use_count_and_not_those_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenBLAS takes no notice of a name that it does not know, and has other kernels for some that
    it does.
    """
    monkeypatch.setattr(show, "loaded", lambda: blas("SkylakeX"))
    assert "SkylakeX, 4 threads" == line("kernels")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "skylakex")
    assert "SkylakeX, 4 threads" == line("kernels")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen9")
    assert "SkylakeX (asked for: Zen9), 4 threads" == line("kernels")
    assert "OPENBLAS_CORETYPE=Zen9" == line("set")
    monkeypatch.setattr(show, "loaded", lambda: blas("SkylakeX", 1))
    assert line("kernels").endswith(", 1 thread")


@pytest.mark.parametrize("name", advice.THREADS)
@pytest.mark.parametrize("value", ["1", "many", "-1", "4,2"])
def test_settings_are_shown_as_they_are(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each variable that limits threads is shown, also if its value is no number."""
    monkeypatch.setenv(name, value)
    assert f"{name}={value}" == line("set")


def test_tracing_is_pointed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A debugger makes each line of Python slow."""
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    assert [] == advice.about_tracing()
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    ((label, text),) = advice.about_tracing()
    assert "advice" == label
    assert "tracing every line" in text


# -- OpenBLAS ------------------------------------------------------------------------------------


def library(form: str, *, without: str = "") -> SimpleNamespace:
    """A library with OpenBLAS's functions, named in this form."""
    functions: dict[str, Any] = {
        "get_corename": lambda: b"Zen",
        "get_num_threads": lambda: 3,
        "get_config": lambda: b"OpenBLAS 0.3.21 DYNAMIC_ARCH NO_AFFINITY Zen MAX_THREADS=64",
    }
    return SimpleNamespace(
        **{form.format(name): call for name, call in functions.items() if name != without}
    )


@pytest.mark.parametrize("form", openblas.NAMES)
@pytest.mark.parametrize("folder", ["numpy.libs", "numpy/.dylibs"])
def test_openblas_of_a_wheel_is_asked(
    form: str, folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It lies beside NumPy, or inside it on macOS, and its functions have one of four forms of
    names.
    """
    file = tmp_path / folder / "libscipy_openblas64_-1a2b.so"
    file.parent.mkdir(parents=True)
    file.touch()
    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setattr(ctypes, "CDLL", {str(file): library(form)}.__getitem__)
    assert OpenBLAS("Zen", 3, "0.3.21") == openblas.loaded()


def test_openblas_of_the_system_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On Linux: among what the process has loaded, whatever it is called.

    What cannot be opened, or is another, is passed.
    """
    (tmp_path / "maps").write_text(
        "7f00-7f01 r--p 00000000 08:01 42    /usr/lib/libblas-gone.so.3 (deleted)\n"
        "7f01-7f02 r--p 00000000 08:01 43    /usr/lib/libcblas.so.3\n"
        "7f02-7f03 r--p 00000000 08:01 44    /usr/lib/blas-less/libm.so.6\n"
        "7f03-7f04 r--p 00000000 08:01 45    /usr/lib/open blas/libblas.so.3\n"
        "7f04-7f05 r-xp 00001000 08:01 45    /usr/lib/open blas/libblas.so.3\n"
        "7f05-7f06 rw-p 00000000 00:00 0\n"
    )
    opened = []

    def opening(file: str) -> SimpleNamespace:
        opened.append(file)
        if "gone" in file:
            raise OSError(file)
        return library("openblas_{}", without="get_corename" if "cblas" in file else "")

    monkeypatch.setattr(openblas, "MAPS", tmp_path / "maps")
    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setattr(ctypes, "CDLL", opening)
    assert OpenBLAS("Zen", 3, "0.3.21") == openblas.loaded()
    assert [
        "/usr/lib/libblas-gone.so.3 (deleted)",
        "/usr/lib/libcblas.so.3",
        "/usr/lib/open blas/libblas.so.3",
    ] == opened


def test_where_there_is_no_openblas_nothing_is_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """NumPy from another source has another BLAS."""
    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setattr(openblas, "MAPS", tmp_path / "maps")
    assert openblas.loaded() is None


# -- kernels -------------------------------------------------------------------------------------


class Measured:
    """Stands in for the measurement: the seconds of each set of kernels, and which set each setting
    brings.
    """

    def __init__(self, **brings: str) -> None:
        self.brings = brings
        self.tried: list[str] = []

    def __call__(self, *environments: dict[str, str]) -> list[Product | None]:
        seconds = {
            "Nehalem": 0.008,
            "Haswell": 0.003,
            "SkylakeX": 0.0015,
            "Cooperlake": 0.003,
            "ends badly": None,
        }
        chosen = [environment.get("OPENBLAS_CORETYPE", "unset") for environment in environments]
        self.tried += chosen
        kernels = [self.brings.get(name, name) for name in chosen]
        return [
            None if (time := seconds[name]) is None else Product(name, time) for name in kernels
        ]


def about_kernels(
    monkeypatch: pytest.MonkeyPatch,
    kernels: str,
    extensions: list[str],
    forced: str | None,
    **brings: str,
) -> tuple[list[tuple[str, str]], list[str]]:
    """The advice, and what was tried for it."""
    measured = Measured(**brings)
    monkeypatch.setattr(advice, "in_turn", measured)
    if forced:
        monkeypatch.setenv("OPENBLAS_CORETYPE", forced)
    return advice.about_kernels(blas(kernels), extensions, forced), measured.tried


@pytest.mark.parametrize(
    ("kernels", "extensions"),
    [
        ("SkylakeX", WIDE),
        ("Cooperlake", ["AVX2", "AVX512_SKX"]),  # as older NumPys call them
        ("Haswell", MIDDLE),
        ("Zen", ["SSE42", "AVX2", "AVX512F"]),  # too little of AVX-512 for any kernels
        ("Nehalem", OLD),
        ("neoversev1", ["NEON", "SVE"]),
        ("Zen9", WIDE),  # of which nothing is known
        ("Haswell", []),
    ],
)
@pytest.mark.parametrize("forced", [None, "Haswell"])
def test_kernels_that_are_wide_enough_need_no_advice(
    kernels: str, extensions: list[str], forced: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is measured then, whether the variable is set or not."""
    assert ([], []) == about_kernels(monkeypatch, kernels, extensions, forced)


def test_no_openblas_no_advice() -> None:
    """Of another BLAS nothing is known."""
    assert [] == advice.about_kernels(None, WIDE, "Haswell")


def test_kernels_that_somebody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line to try is the one that unsets the variable.

    3 ms instead of 1.5 are twice as long.
    """
    found, tried = about_kernels(monkeypatch, "Haswell", WIDE, "Haswell", unset="SkylakeX")
    assert [
        (
            "advice",
            (
                "Haswell kernels make no use of this processor's AVX-512; try `env -u "
                "OPENBLAS_CORETYPE`"
            ),
        ),
        (
            "measured",
            (
                "a product of two 512 x 512 matrices took 2.00 times as long with Haswell kernels "
                "as with SkylakeX, on one thread"
            ),
        ),
    ] == found
    assert ["Haswell", "unset"] == tried


def test_kernels_that_openblas_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenBLAS that is older than the processor, say: the line to try names kernels that it
    has.
    """
    found, tried = about_kernels(monkeypatch, "Haswell", WIDE, None)
    assert found[0][1].endswith("AVX-512; try `OPENBLAS_CORETYPE=SkylakeX`")
    assert ["Haswell", "SkylakeX"] == tried
    found, _ = about_kernels(monkeypatch, "Nehalem", MIDDLE, None)
    assert (
        "Nehalem kernels make no use of this processor's AVX2; try `OPENBLAS_CORETYPE=Haswell`"
        == found[0][1]
    )
    assert "2.67 times as long with Nehalem kernels as with Haswell" in found[1][1]


def test_where_unsetting_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody chose, and OpenBLAS would not have chosen better."""
    found, tried = about_kernels(monkeypatch, "Haswell", WIDE, "Haswell", unset="Haswell")
    assert found[0][1].endswith("; try `OPENBLAS_CORETYPE=SkylakeX`")
    assert ["Haswell", "unset", "Haswell", "SkylakeX"] == tried


def test_wider_kernels_that_are_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some processors do AVX-512 in two halves: then it is said, and nothing to try."""
    found, _ = about_kernels(monkeypatch, "Haswell", WIDE, "Haswell", unset="Cooperlake")
    assert (
        "Haswell kernels make no use of this processor's AVX-512; those of Cooperlake (`env -u "
        "OPENBLAS_CORETYPE`) are no faster here"
    ) == found[0][1]
    assert " took 1.00 times as long " in found[1][1]


@pytest.mark.parametrize("instead", ["Haswell", "ends badly"])
def test_where_there_are_no_wider_kernels(instead: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OpenBLAS that was built without them, or a system on which they end in an illegal
    instruction.
    """
    found, _ = about_kernels(monkeypatch, "Haswell", WIDE, None, SkylakeX=instead)
    why = "Haswell kernels make no use of this processor's AVX-512, and this OpenBLAS has none that do; a newer NumPy may "
    assert [("advice", f"{why}bring one")] == found


def test_where_nothing_can_be_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """The advice is given all the same, and that it was not measured."""
    found, _ = about_kernels(
        monkeypatch, "Haswell", WIDE, "Haswell", Haswell="ends badly", unset="ends badly"
    )
    assert [
        (
            "advice",
            (
                "Haswell kernels make no use of this processor's AVX-512; try `env -u "
                "OPENBLAS_CORETYPE`"
            ),
        ),
        ("measured", "nothing: no second process could be run"),
    ] == found


# -- the measurement -----------------------------------------------------------------------------


@pytest.mark.slow
def test_products_are_measured_in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has the environment that it is given, and one thread.

    One that ends badly leaves the other's figure.
    """
    monkeypatch.setattr(product, "TURNS", 2)
    environment = dict(os.environ)
    first, second = product.in_turn(environment, {**environment, "PYTHONHASHSEED": "no seed"})
    assert first is not None
    assert first.kernels
    assert 0 < first.seconds < product.PATIENCE
    assert second is None


def test_a_process_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figure is missing, and nobody waits for it."""
    monkeypatch.setattr(product, "PATIENCE", 0.01)
    assert [None] == product.in_turn(dict(os.environ))


@pytest.mark.parametrize("case", ["no Python", "frozen", "not there"])
def test_where_no_process_can_be_run(
    case: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Python inside another program: that program is not started."""
    monkeypatch.setattr(
        sys,
        "executable",
        {"no Python": "", "not there": str(tmp_path / "python")}.get(case, sys.executable),
    )
    monkeypatch.setattr(sys, "frozen", case == "frozen", raising=False)
    assert [None, None] == product.in_turn({}, {})


def told(**settings: str) -> str:
    """What a new process prints."""
    environment = {**os.environ, **settings, "PYTHONPATH": str(Path(mg.__file__).parent.parent)}
    command = [sys.executable, "-c", "import minigrad; minigrad.show_config()"]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.slow
@pytest.mark.skipif(openblas.loaded() is None, reason="NumPy has another BLAS here")
def test_threads_are_those_of_the_blas_that_is_loaded() -> None:
    """A process that is told how many threads to use says so."""
    assert re.search(r"^kernels   .*, 1 thread$", told(OPENBLAS_NUM_THREADS="1"), re.MULTILINE)


@pytest.mark.skipif(
    openblas.loaded() is None or not {"X86_V4", "AVX512_SKX"} & set(machine.extensions()),
    reason="needs OpenBLAS and a processor with AVX-512",
)
def test_narrow_kernels_are_noticed_in_earnest() -> None:
    """Where Haswell's kernels are forced on a processor with AVX-512, the line to try is named and
    measured.
    """
    printed = told(OPENBLAS_CORETYPE="Haswell")
    assert re.search(r"^kernels   Haswell, \d+ threads?$", printed, re.MULTILINE)
    assert re.search(
        r"^advice    Haswell kernels make .* AVX-512; .*`env -u OPENBLAS_CORETYPE`",
        printed,
        re.MULTILINE,
    )
    assert re.search(
        r"^measured  a product of .* took \d+\.\d\d times .* Haswell kernels as with ",
        printed,
        re.MULTILINE,
    )


# -- cores and threads ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cores", "useful", "words"),
    [
        (Cores(1), 1, "1 usable"),
        (Cores(8), 8, "8 usable"),
        (Cores(8, 4), 4, "8 usable, 4 physical"),
        (Cores(8, 8, 2.0), 2, "8 usable, 8 physical, time for 2 (the container's limit)"),
        (Cores(8, None, 1.5), 1, "8 usable, time for 1.5 (the container's limit)"),
        (Cores(8, 4, 0.5), 1, "8 usable, 4 physical, time for 0.5 (the container's limit)"),
        (Cores(2, 1, 16.0), 1, "2 usable, 1 physical, time for 16 (the container's limit)"),
    ],
)
def test_useful_cores(cores: Cores, useful: int, words: str) -> None:
    """As many as there are physical ones, and the container may use; at least one."""
    assert (useful, words) == (cores.useful, str(cores))


@pytest.mark.parametrize(
    ("openblas", "cores", "settings", "expected"),
    [
        (
            blas(threads=4),
            Cores(4, 4),
            {},
            "small networks are often faster with OPENBLAS_NUM_THREADS=1; only the matrix",
        ),
        (blas(threads=8), Cores(8, 4), {}, "8 threads share 4 cores; try OPENBLAS_NUM_THREADS=4"),
        (
            blas(threads=2),
            Cores(8, 8, 1.5),
            {},
            "2 threads share 1 core; try OPENBLAS_NUM_THREADS=1",
        ),
        (
            blas(threads=64),
            Cores(4),
            {"OMP_NUM_THREADS": "64"},
            "64 threads share 4 cores; try OPENBLAS_NUM_THREADS=4",
        ),
        (
            blas(threads=4),
            Cores(4),
            {"OMP_NUM_THREADS": "64"},
            None,
        ),  # BLAS says itself how many it uses
        (blas(threads=1), Cores(4), {}, None),
        (None, Cores(4), {}, None),
        (
            None,
            Cores(4),
            {"MKL_NUM_THREADS": "16"},
            "16 threads share 4 cores; try MKL_NUM_THREADS=4",
        ),
        (
            None,
            Cores(4),
            {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "5"},
            "5 threads share 4 cores; try MKL_NUM_THREADS=4",
        ),
        (None, Cores(4), {"MKL_NUM_THREADS": "4"}, None),
        (None, Cores(4), {"OMP_NUM_THREADS": "many", "OPENBLAS_CORETYPE": "64"}, None),
    ],
)
def test_threads_that_outnumber_the_cores(
    openblas: OpenBLAS | None, cores: Cores, settings: dict[str, str], expected: str | None
) -> None:
    """As BLAS says, or else as the variables ask for."""
    found = advice.about_threads(openblas, cores, settings)
    assert (expected is not None) == bool(found)
    if expected is not None:
        assert found[0][0] == "advice"
        assert found[0][1].startswith(expected)


def test_physical_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Logical cores that name each other as siblings are one; not known where a file is missing."""
    for number, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{siblings}\n")
    monkeypatch.setattr(machine, "TOPOLOGY", tmp_path)
    monkeypatch.setattr(machine, "_quota", lambda: None)
    for usable, physical in (({0, 1, 2, 3}, 2), ({0, 2}, 1), ({0, 1}, 2), ({0, 4}, None)):
        monkeypatch.setattr(
            os, "sched_getaffinity", lambda pid, usable=usable: usable, raising=False
        )
        assert Cores(len(usable), physical) == machine.cores()


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        (
            "0::/a/b\n",
            {"cpu.max": "400000 100000", "a/cpu.max": "50000 100000", "a/b/cpu.max": "max 100000"},
            0.5,
        ),
        ("0::/a\n", {"b/cpu.max": "50000 100000"}, None),  # another group's
        (
            "4:cpu,cpuacct:/docker/1\n",
            {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"},
            2.0,
        ),
        (
            "4:cpuset:/\n1:cpu:/\n",
            {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"},
            None,
        ),
        ("4:memory:/a\n", {"a/cpu.max": "50000 100000"}, None),
        ("nonsense\n", {"cpu.max": "nonsense"}, None),
    ],
)
def test_the_limit_of_a_container(
    own: str,
    files: dict[str, str],
    expected: float | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """By control groups of version 2 and 1: the tightest of one's own and those around it."""
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        file = tmp_path / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    monkeypatch.setattr(machine, "OWN_CGROUPS", tmp_path / "own")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "groups")
    assert expected == machine._quota()


def test_the_processor_has_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From Linux, or else what Python says."""
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert "arm" == machine.processor()
    (tmp_path / "cpuinfo").write_text(
        "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 9: odd\nmodel name\t: AMD\n"
    )
    assert "AMD EPYC 9: odd" == machine.processor()
