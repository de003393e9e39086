"""Recording: every update of a training, what became of each entry, and why.

`recorder` listens to the optimizer, `aggregates` counts, `store` keeps the bytes; `run` and `history` read back,
`reasons` says why an entry did not move, and `report` puts it in words.
"""

from minigrad.recording.history import ParameterHistory
from minigrad.recording.reasons import Reason, Why
from minigrad.recording.recorder import Recorder
from minigrad.recording.run import Run

__all__ = ["ParameterHistory", "Reason", "Recorder", "Run", "Why"]
