"""The counts of a run's directory: from aggregates.npz, or else from the rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from minigrad.runs.counts_check import problem_of
from minigrad.runs.counts_file import CountsFile, unpacked
from minigrad.runs.gap import joined
from minigrad.runs.record import Record
from minigrad.runs.recount import gaps_of, recount_from_rows

_FILE = "aggregates.npz"


def read_counts(directory: Path, run_id: str) -> tuple[CountsFile | None, str]:
    """What aggregates.npz says, or why it is not known.

    Args:
        directory: Where the run is.
        run_id: The run's id.
    """
    try:
        found = unpacked(directory / _FILE)
    except FileNotFoundError:
        return None, f"{_FILE} is missing"
    except MemoryError:  # that says nothing of the file: its members are no larger than it is
        raise
    except Exception as error:  # noqa: BLE001 - whatever zipfile, NumPy and JSON make of damage
        return None, f"{_FILE} is damaged ({type(error).__name__}: {error})"
    if not isinstance(found.last_step, int):
        return None, f"{_FILE} is damaged: its last step is no number"
    if found.run_id != run_id:
        return None, f"{_FILE} is of another run"
    return found, ""


def with_counts(record: Record, found: CountsFile | None, problem: str) -> Record:
    """A record with its counts: those of aggregates.npz, or else those that its rows tell.

    Args:
        record: The record, without counts.
        found: What aggregates.npz says.
        problem: Why that is not known.
    """
    last = record.last_step
    if found is not None:
        if found.last_step > last:
            problem = f"{_FILE} tells of steps up to {found.last_step}, which are not there"
            record = record.with_damage(
                f"steps.npy holds no rows after step {last}, though "
                f"{_FILE} counts steps up to {found.last_step}"
            )
        elif wrong := problem_of(found, record):
            problem = f"{_FILE} is damaged ({wrong})"
    if found is None or problem:
        return _from_rows(record, problem)
    final, final_step = record.final, record.final_step
    if final_step < found.last_step:
        final, final_step = found.values, found.last_step
    return replace(
        record,
        counts=found.counts,
        counted=found.values,
        counted_step=found.last_step,
        final=final,
        final_step=final_step,
        replayed=record.replayed or final_step != record.final_step,
    )


def _from_rows(record: Record, problem: str) -> Record:
    """A record with the counts that its rows tell, where those that were made are lost."""
    counts, lost = recount_from_rows(record, record.last_step)
    if not counts.seen and len(lost):
        note = f"{problem}, so nothing is known of the entries' counts"
        return replace(record, notes=(*record.notes, note), no_counts=problem)
    note = f"{problem}, so the entries are counted from the rows that are held"
    return replace(
        record,
        notes=(*record.notes, note) if len(record.kept.steps) else record.notes,
        gaps=tuple(joined([*record.gaps, *gaps_of(lost, problem)])),
        counts=counts,
        counted=record.final,
        counted_step=record.final_step,
    )
