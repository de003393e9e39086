"""Reports show anything that looks like a run: that has the attributes in `shown`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.display import shown
from minigrad.display.html.page import save_page
from minigrad.display.notebook_report import notebook_report_of
from minigrad.display.text_report import report_of

KINDS: dict[str, type] = {
    "Run": shown.ShownRun,
    "ParameterHistory": shown.ShownParameter,
    "Why": shown.ShownWhy,
    "Tensors": shown.ShownTensors,
}


class Only:
    """A stand-in for a run, or a part of one, that has what its protocol names and nothing else."""

    def __init__(self, thing: Any) -> None:
        self._thing = thing
        self._names = set(dir(KINDS[type(thing).__name__])) - set(dir(Protocol))

    def __getattr__(self, name: str) -> Any:
        if name not in self._names:
            raise AttributeError(f"no protocol has '{name}'")
        return only(getattr(self._thing, name))

    def __getitem__(self, index: Any) -> Any:
        return only(self._thing[index])

    def __len__(self) -> int:
        return len(self._thing)


def only(thing: Any) -> Any:
    return Only(thing) if type(thing).__name__ in KINDS else thing


def recorded(wreck: bool, **settings: Any) -> mg.Run:
    """Some steps; a wrecked run has NaN at the end."""
    model = mg.Sequential(mg.Dense(49, 3, rng=0), mg.Activation("relu"), mg.Dense(3, 2, rng=0))
    loss, optimizer = mg.SoftmaxCrossEntropy(), mg.SGD(model, 0.1, momentum=0.9)
    rng = np.random.default_rng(1)
    with mg.Recorder(optimizer, loss=loss, **settings) as recorder:
        for step in range(6):
            x = rng.random((4, 49)).astype(np.float32)
            x[:, 0] = 0
            loss.forward(model(x), rng.integers(0, 2, 4))
            model.backward(loss.backward())
            if wreck and step == 4:
                dict(model.parameters())["2.bias"].grad = np.full(2, np.nan, np.float32)
            optimizer.step()
    return recorder.run


@sparse(
    pytest.mark.parametrize("settings", [{}, {"aggregates": False}, {"keep": ()}], ids=str),
    pytest.mark.parametrize("wreck", [False, True]),
)
def test_whatever_looks_like_a_run(wreck: bool, settings: dict[str, Any], tmp_path: Path) -> None:
    """A thing that has nothing but the attributes of the protocols is shown as the run is."""
    run = recorded(wreck, **settings)
    stand_in = only(run)
    assert run.report() == report_of(stand_in)
    assert run._repr_html_() == notebook_report_of(stand_in)
    run.save_report(tmp_path / "run.html")
    save_page(stand_in, tmp_path / "stand_in.html")
    assert (tmp_path / "run.html").read_bytes() == (tmp_path / "stand_in.html").read_bytes()
