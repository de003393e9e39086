"""`show_config`, and the text that it prints."""

from __future__ import annotations

import os
import platform
from typing import Any

import numpy as np

from minigrad.config import machine
from minigrad.config.advice import CORETYPE, THREADS, about_kernels, about_threads, about_tracing
from minigrad.config.openblas import OpenBLAS, loaded


def show_config() -> None:
    """Print versions, processor, BLAS, the kernels and threads in use, and what would make this
    machine faster.

    It is what to paste into an issue. Nothing is changed. Only where the kernels are narrower than
    the processor allows does it take about a second: then it measures what other ones are worth, in
    processes of their own.
    """
    print(config())


def config() -> str:
    """What `show_config` prints."""
    settings = {name: value for name in (*THREADS, CORETYPE) if (value := os.environ.get(name))}
    extensions, cores, openblas = machine.extensions(), machine.cores(), loaded()
    lines = [
        ("minigrad", _version()),
        ("NumPy", np.__version__),
        ("Python", f"{platform.python_version()} ({platform.python_implementation()})"),
        ("system", f"{platform.platform(terse=True)}, {platform.machine()}"),
        ("processor", machine.processor()),
        ("vectors", ", ".join(extensions) or "not known: NumPy does not say"),
        ("cores", str(cores)),
        ("BLAS", _blas(openblas)),
        ("kernels", _kernels(openblas, settings.get(CORETYPE))),
        (
            "set",
            ", ".join(f"{name}={value}" for name, value in settings.items())
            or "nothing that concerns BLAS",
        ),
        *about_kernels(openblas, extensions, settings.get(CORETYPE)),
        *about_threads(openblas, cores, settings),
        *about_tracing(),
    ]
    return "\n".join(f"{label:<10}{text}" for label, text in lines)


def _version() -> str:
    """The version that is installed."""
    from importlib.metadata import (
        PackageNotFoundError,
        version,
    )  # not at the top: it takes longer than minigrad itself

    try:
        return version("minigrad")
    except PackageNotFoundError:
        return "not installed, used from a folder"


def _blas(openblas: OpenBLAS | None) -> str:
    """The library that NumPy was built with, as NumPy says, and the OpenBLAS that stands in for it, if one does."""
    found: dict[str, Any] = machine.numpy_says().get("Build Dependencies", {}).get("blas", {})
    built = f"{found.get('name', '')} {found.get('version', '')}".strip()
    if openblas is None:
        return built or "not known: NumPy does not say"
    return built if "openblas" in built.lower() else f"OpenBLAS {openblas.version}"


def _kernels(openblas: OpenBLAS | None, forced: str | None) -> str:
    """The kernels and threads in use; OpenBLAS need not heed what it is asked for."""
    if openblas is None:
        return "not known: only OpenBLAS says which it uses, and none was found"
    asked = (
        f" (asked for: {forced})" if forced and forced.lower() != openblas.kernels.lower() else ""
    )
    return f"{openblas.kernels}{asked}, {openblas.threads} thread{'' if openblas.threads == 1 else 's'}"
