"""Recording: writes every update of a training, and counts what became of each entry.

- `recorder` is the hook. It records `selected_parameters`; `step_facts` finds out the loss and
  the batch of a step, `witness` sees gradients arrive, and `out_of_band` notices what others write.
- `entry_counter` counts what becomes of each entry, whose `step_rows` it gathers, and `coactivity`
  how active the inputs and units of a layer are, with `nonzero_counter`s. What counts, a `journal`
  says, so that an interrupt costs no more than the step that is being made.
- `continuity` sees to it that each step begins where the last one ended, or that the record says
  where it does not.
- `store` keeps tensors in blocks within a budget, with what is left after `giving_up` some:
  `memory_store` in memory, `disk_store` in a directory. What is kept of every step grows in
  `step_columns`, made of `column`s; on disk `step_files` writes these, `row_writer` the tensors,
  `block_files`, `block_table` and `run_description` the rest. All of these are the `run_files` of a
  session, under one `run_lock`.
- `at_exit` has recorders write what they hold when the process ends.

What is recorded is read back in `minigrad.runs`.
"""

from minigrad.reason import Reason
from minigrad.recording.recorder import Recorder
from minigrad.runs import ParameterHistory, Run, Why

__all__ = ["ParameterHistory", "Reason", "Recorder", "Run", "Why"]
