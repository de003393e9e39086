"""The machine that measures: processor, versions, and an environment that all peers share.

It imports neither NumPy nor any peer, so that a process can set the environment for others before
they do.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGES = ("numpy", "scikit-learn", "torch", "jax", "jaxlib")


def processor() -> str:
    """The processor's name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        "unknown processor",
    )


def environment(threads: int = 1, keep_kernels: bool = False) -> dict[str, str]:
    """This process's environment, with so many threads, and with OpenBLAS's own choice of kernels.

    With `keep_kernels`, a choice that is already set stays.
    """
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    changed = {**os.environ, **dict.fromkeys(names, str(threads)), "JAX_PLATFORMS": "cpu"}
    if threads == 1:
        changed["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    if not keep_kernels:
        changed.pop("OPENBLAS_CORETYPE", None)
    return changed


def pin(cores: int) -> None:
    """Keep this process and its children on so many cores, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def about(env: dict[str, str], pinned: bool) -> dict[str, Any]:
    """What a result must say of where, when and how it was measured."""
    versions = {
        "python": platform.python_version(),
        "minigrad": _ask(env, "import minigrad; print(minigrad.__version__)"),
    }
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    config = _ask(env, "import minigrad; minigrad.show_config()").splitlines()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        "processor": processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "threads": int(env["OMP_NUM_THREADS"]),
        "pinned": pinned and hasattr(os, "sched_setaffinity"),
        "kernels": next(
            (line.split(maxsplit=1)[1] for line in config if line.startswith("kernels")),
            "not known",
        ),
        "coretype": env.get("OPENBLAS_CORETYPE", ""),
        "versions": versions,
    }


def _ask(env: dict[str, str], code: str) -> str:
    """What a program in this environment prints."""
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.strip()


def described(about: dict[str, Any]) -> str:
    """The same for people: a paragraph, and the command."""
    versions = dict(about["versions"])
    python = versions.pop("python")
    threads = "one thread" if about["threads"] == 1 else f"{about['threads']} threads"
    pinned = (
        ", all processes pinned to the same core" + "s" * (about["threads"] > 1)
        if about["pinned"]
        else ""
    )
    kernels = (
        f"OPENBLAS_CORETYPE={about['coretype']}"
        if about["coretype"]
        else "OpenBLAS's own choice of kernels"
    )
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"Measured on {about['date']} on {about['processor']} ({about['system']}): CPU, "
        f"{threads}{pinned}, {kernels} ({about['kernels']}). Python {python}, "
        f"{named}.\n\n```sh\n{about['command']}\n```\n"
    )


def as_json(results: dict[str, Any]) -> str:
    """Results as text, a line for each list of figures."""
    text = json.dumps(results, indent=1)
    return re.sub(r"\[[^][{}\"]*\]", lambda match: " ".join(match[0].split()), text) + "\n"
