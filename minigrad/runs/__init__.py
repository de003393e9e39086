"""Runs: a record read back, exactly, and why each entry moved or did not.

- `run` and `parameter_history` are what users hold; `tensors`, `exact_values` and `norms` read
  what was kept, `restore` puts it into a model, `verification` replays and compares.
- `reasons` finds each entry's reason, `why` has them, `reason_sentences` says them, with what
  `causes` and `notes` know.
- `non_finite` finds where NaN and infinity begin.
- `reader` makes a `record` of the files that `format` describes; `block`, `counts`, `activity`,
  `kept_steps` and `gap` are what a record is made of.
"""

from minigrad.runs.non_finite import NonFinite
from minigrad.runs.norms import Norms
from minigrad.runs.parameter_history import ParameterHistory
from minigrad.runs.run import Run
from minigrad.runs.tensors import Tensors
from minigrad.runs.verification import Difference, Verification
from minigrad.runs.why import Gate, Why

__all__ = [
    "Difference",
    "Gate",
    "NonFinite",
    "Norms",
    "ParameterHistory",
    "Run",
    "Tensors",
    "Verification",
    "Why",
]
