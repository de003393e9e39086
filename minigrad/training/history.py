"""`History`, the figures of each epoch."""

from __future__ import annotations

import csv
import importlib
import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from minigrad._printable import printable
from minigrad._types import override
from minigrad.display.words import counted
from minigrad.errors import MissingExtraError, ModelError, ShapeError, UnknownNameError
from minigrad.files import save


def short(figure: float) -> str:
    """A figure as text, with about four digits."""
    return f"{figure:.4f}" if 0.01 <= abs(figure) < 100 else f"{figure:.4g}"


def _inert(name: str) -> str:
    """A name in which no spreadsheet finds a formula, whatever separates cells where it is read."""
    return _FORMULA.sub(r"\1'", printable(name))


# The beginning of a cell that a spreadsheet would compute; the full-width forms count too.
_FORMULA = re.compile(r"(^|[,;|])(?=\s*[-=+@\uff1d\uff0b\uff0d\uff20])")


@final
class History(Mapping[str, list[float]]):
    """The figures of each epoch, by name.

    `history["val_loss"]` is a plain list with one number for each epoch, and `print(history)` shows
    a table, in which epochs count from 1. A figure that was not measured in an epoch is NaN there.

    Args:
        figures: Figures to begin with: lists of one length by name.

    Attributes:
        stopped: Why the training ended before its last epoch; empty where it did not.

    Raises:
        ShapeError: The lists have different lengths.
    """

    def __init__(self, figures: Mapping[str, Sequence[float]] | None = None) -> None:
        self._figures: dict[str, list[float]] = {}
        self.stopped: str = ""
        # the four sums of each figure, for a checkpoint in mid-epoch
        self.under_way: dict[str, list[float]] = {}
        self._fill({} if figures is None else figures)

    def _fill(self, figures: Mapping[str, Sequence[float]]) -> None:
        new = {str(name): [float(figure) for figure in column] for name, column in figures.items()}
        lengths = {name: len(column) for name, column in new.items()}
        if len(set(lengths.values())) > 1:
            raise ShapeError(
                f"the figures of a History must be of one length, one for each epoch; these have "
                f"{lengths}"
            )
        self._figures = new

    @property
    def epochs(self) -> int:
        """The number of epochs that are complete."""
        return max(map(len, self._figures.values()), default=0)

    def add(self, figures: Mapping[str, float]) -> None:
        """Take in the figures of one more epoch."""
        before = self.epochs
        for name in figures:
            self._figures.setdefault(name, [math.nan] * before)
        for name, column in self._figures.items():
            column.append(float(figures.get(name, math.nan)))

    @override
    def __getitem__(self, name: str) -> list[float]:
        """The figures of this name.

        Raises:
            UnknownNameError: There are none.
        """
        if name not in self._figures:
            known = ", ".join(self._figures) or "none"
            raise UnknownNameError(f"no figure '{name}' in this history; there are {known}")
        return self._figures[name]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._figures)

    @override
    def __len__(self) -> int:
        """The number of figures, as of every mapping; `epochs` is that of the epochs."""
        return len(self._figures)

    def __bool__(self) -> bool:
        """Whether any epoch is complete."""
        return self.epochs > 0

    # -- text -------------------------------------------------------------------------------------

    @override
    def __repr__(self) -> str:
        stopped = f"; stopped: {self.stopped}" if self.stopped else ""
        return (
            f"History({counted(self.epochs, 'epoch')} of "
            f"{printable(', '.join(self)) or 'nothing'}{printable(stopped)})"
        )

    def __str__(self) -> str:
        """A table, one line for each epoch."""
        names = ["epoch", *map(printable, self)]
        rows = [
            [str(epoch + 1), *(short(self[name][epoch]) for name in self)]
            for epoch in range(self.epochs)
        ]
        widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
        lines = [
            "  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
            for row in [names, *rows]
        ]
        stopped = [printable(f"stopped: {self.stopped}")] if self.stopped else []
        return "\n".join([*lines, *stopped])

    # -- elsewhere --------------------------------------------------------------------------------

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table of comma-separated values: the epoch, counted from 1, and each figure.

        Numbers have all their digits. Names are made harmless: where one begins with =, +, - or @,
        or has one after a comma, a semicolon or a bar, so that a spreadsheet would compute it, an
        apostrophe stands before it; and control characters are escaped, as in string literals.

        Raises:
            DataFileError: The file cannot be written.
        """
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["epoch", *map(_inert, self)])
        table.writerows(
            [epoch + 1, *(self[name][epoch] for name in self)] for epoch in range(self.epochs)
        )
        save(path, text.getvalue().encode(), "the history")

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON object of lists; what is not finite becomes null.

        Raises:
            DataFileError: The file cannot be written.
        """
        figures = {
            name: [figure if math.isfinite(figure) else None for figure in self[name]]
            for name in self
        }
        save(path, f"{json.dumps(figures, indent=1, allow_nan=False)}\n".encode(), "the history")

    def plot(self) -> Any:
        """Draw the losses over the epochs, and beside them each other figure.

        Those of training and of validation share axes.

        Returns:
            A `matplotlib.figure.Figure`; in a script, `history.plot().savefig("history.png")`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
        """
        try:
            pyplot = importlib.import_module("matplotlib.pyplot")
        except ImportError as error:
            raise MissingExtraError(
                'history.plot needs matplotlib: run `pip install -e ".[plot]"` in the checkout of '
                "minigrad"
            ) from error
        kinds = list(dict.fromkeys(name.removeprefix("val_") for name in self)) or ["loss"]
        figure, axes = pyplot.subplots(
            1, len(kinds), figsize=(5 * len(kinds), 3.5), squeeze=False, layout="constrained"
        )
        epochs = range(1, self.epochs + 1)
        for kind, axis in zip(kinds, axes[0], strict=True):
            for name, label in ((kind, "training"), (f"val_{kind}", "validation")):
                if name in self:
                    axis.plot(epochs, self[name], marker=".", label=label)
            axis.set(title=printable(kind).replace("_", " "), xlabel="epoch")
            axis.xaxis.get_major_locator().set_params(integer=True)
            if self._figures:
                axis.legend()
        return figure

    # -- state ------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All figures, and those of the epoch that is under way, for a checkpoint."""
        return {
            "figures": {name: np.array(column) for name, column in self._figures.items()},
            "under_way": dict(self.under_way),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave: all of it, or after an error nothing.

        What was there is forgotten.

        Raises:
            ModelError: It is no state of a History.
        """
        if not {"figures", "under_way"} <= set(state):
            raise ModelError(
                f"this is no state of a History: it has {sorted(state)}, expected figures and "
                f"under_way"
            )
        if any(len(sums) != 4 for sums in state["under_way"].values()):
            raise ModelError(
                "in this state of a History a figure of the epoch that is under way does not have "
                "four sums"
            )
        under_way = {
            str(name): [float(one) for one in sums] for name, sums in state["under_way"].items()
        }
        self._fill({name: np.asarray(column).tolist() for name, column in state["figures"].items()})
        self.stopped, self.under_way = "", under_way
