"""Recording: every update of a training, what became of each entry, and why.

- `recorder` listens to the optimizer: `selection` says what it records, `watch` notices what others
  write.
- `aggregates` counts what becomes of each entry.
- `store` keeps tensors within a budget, in `blocks`: `memory` in memory, `disk` in a directory,
  where `steps` holds what is kept of every step, and `format` says what the files look like.
- `run` and `history` read back, from a `record`; `directory` makes one from the files, which
  `mapped` maps into memory; `norms` says how large updates are.
- `reasons` and `sentences` say why an entry did not move; `report`, `html` and `animation` show it.
"""

from minigrad.reason import Reason
from minigrad.recording.recorder import Recorder
from minigrad.runs import ParameterHistory, Run, Why

__all__ = ["ParameterHistory", "Reason", "Recorder", "Run", "Why"]
