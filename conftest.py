"""Every code block of README.md and docs/ is a test; and what is said of tests that are left out.

A ```python block is run after those before it on its page. What it prints must stand in a ```text
block right after it, and such a block shows nothing else: code can be copied, and output is real.
Numbers with a decimal point may differ by one per cent, because matrix products differ in their
last digits from one machine to another; all else must be the same.
"""

from __future__ import annotations

import gc
import io
import math
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser
from sybil.parsers.rest import DocTestParser
from sybil.sybil import SybilCollection

import minigrad as mg

OUTPUT = re.compile(
    r"\s*\n(?P<indent> *)```text\n(?P<shown>.*?)\n(?P=indent)```$", re.DOTALL | re.MULTILINE
)
DECIMAL = re.compile(r"-?\d[\d,]*\.\d+(?:e[-+]?\d+)?")
run_python = PythonEvaluator()


def run(example: Example) -> str | None:
    """Run a block, and compare what it prints with what the page shows; returns what is wrong."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        run_python(example)
    found = OUTPUT.match(example.document.text, example.region.end)
    shown = re.sub(f"^{found['indent']}", "", found["shown"], flags=re.MULTILINE) if found else ""
    if agree(shown, printed.getvalue()):
        return None
    return f"The page shows:\n{shown}\n\nIt prints:\n{printed.getvalue()}"


def agree(shown: str, printed: str) -> bool:
    """Whether two outputs are the same, up to one percent in numbers with a decimal point."""
    words = [DECIMAL.sub("#", text).split() for text in (shown, printed)]
    numbers = [
        [float(number.replace(",", "")) for number in DECIMAL.findall(text)]
        for text in (shown, printed)
    ]
    return words[0] == words[1] and all(
        math.isclose(a, b, rel_tol=0.01) for a, b in zip(*numbers, strict=True)
    )


def somebodys_training(namespace: dict[str, Any]) -> None:
    """Define what the README's first lines take for granted: a training without minigrad."""
    rng = np.random.default_rng(0)
    x_train, y_train, _, _ = mg.datasets.load_digits()
    weights, out = rng.uniform(-0.5, 0.5, (784, 10)), rng.uniform(-0.5, 0.5, (10, 10))

    def train(weights: np.ndarray[Any, Any]) -> None:
        for _ in range(20):
            for rows in np.array_split(rng.permutation(len(x_train)), 29):
                x = x_train[rows]
                hidden = 1 / (1 + np.exp(-x @ weights))
                error = np.exp(hidden @ out)
                error /= error.sum(axis=1, keepdims=True)
                error[np.arange(len(x)), y_train[rows]] -= 1
                below = error @ out.T * hidden * (1 - hidden)
                out[...] -= 0.3 / len(x) * hidden.T @ error
                weights -= 0.3 / len(x) * x.T @ below

    namespace.update(weights=weights, x_train=x_train, train=train, mg=mg)


ROOT = Path(__file__).parent
DOCTESTS = [  # parsing all modules for those of a few would take a second
    file.relative_to(ROOT).as_posix()
    for file in (ROOT / "minigrad").rglob("*.py")
    if ">>> " in file.read_text("utf-8")
]
blocks = CodeBlockParser("python", run)
pytest_collect_file = SybilCollection(
    [
        Sybil([blocks], pattern="README.md", setup=somebodys_training),
        Sybil([blocks], patterns=["docs/*.md", "docs/*/*.md"]),
        Sybil([DocTestParser()], patterns=DOCTESTS),
    ]
).pytest()


def pytest_collection_finish() -> None:
    """What was collected stays: no need to go through it whenever garbage is collected."""
    gc.collect()
    gc.freeze()


SLOW = pytest.StashKey[int]()
"""How many slow tests were left out."""


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count the slow ones."""
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        stash = slow[0].config.stash
        stash[SLOW] = stash.get(SLOW, 0) + len(slow)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how to run them, also to somebody who named one and sees that nothing was run."""
    if left_out := config.stash.get(SLOW, 0):
        terminalreporter.write_line(
            f"{left_out} slow tests were left out: "
            'add -m "" to run them too, -m slow to run only them'
        )
