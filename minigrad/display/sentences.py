"""The sentences that the reports share: of a run, and of each parameter."""

from __future__ import annotations

import numpy as np

from minigrad.display.printed import printed_entries
from minigrad.display.shown import ShownParameter, ShownRun
from minigrad.display.words import counted, not_finite, not_finite_in_words
from minigrad.reason import Reason

_NAMES = 5  # parameters that are named at most


# -- a run ---------------------------------------------------------------------------------------


def headline(run: ShownRun) -> str:
    """What was trained and what is kept, in a line."""
    if not run.steps:
        return "No step is recorded."
    loss = ""
    if run.loss_known.any():
        loss = f", loss {_loss(run, 0)} at the first and {_loss(run, -1)} at the last"
    held = max(run.held.values(), default=0)
    kept = (
        f"the tensors of {counted(held, 'step')}, {run.bytes / 1e6:,.1f} MB"
        if held
        else "counts, and no tensors"
    )
    return f"{counted(len(run.steps), 'step')} of {run.optimizer}{loss}. Kept: {kept}."


def _loss(run: ShownRun, place: int) -> str:
    loss = run.loss[place]
    if np.isnan(loss):
        return "NaN" if run.loss_known[place] else "not given"
    return f"{loss:.4g}" if np.isfinite(loss) else "infinite"


def non_finite_lines(run: ShownRun) -> list[str]:
    """What a report says first: nothing, if the run shows neither NaN nor infinity."""
    first, loss, values = (
        run.first_non_finite,
        run.first_non_finite_loss,
        run.first_non_finite_values,
    )
    if first is None:
        return []
    where = f"in step {first.step}" if first.what != "write" else f"before step {first.step}"
    where = "before the first step" if first.step < 0 else where
    lines = [f"NaN or infinity appeared {where}{'' if first.exact else ', or earlier'}."]
    if loss is not None:
        strange = run.loss[run.loss_known & ~np.isfinite(run.loss)]
        kind = "NaN" if np.isnan(strange[0]) else "infinite"
        many = f"{len(strange):,} of {counted(len(run.steps), 'step')}"
        lines.append(f"    The loss was {kind} in step {loss.step}, and NaN or infinite in {many}.")
    if values is not None:
        size = sum(run[name].size for name in run.names)
        many = f"{values.entries:,} of {size:,} values"
        when = f"After step {values.step}{'' if values.exact else ' at the latest'}"
        if values.what == "write":
            when = f"By a write of others before step {values.step}"
        elif values.step < 0:
            when = "Before the first step"
        lines.append(
            f"    {when}, {many} were NaN or infinite, {_named(values.names)}; "
            f"{_strange_values_at_the_end(run)}."
        )
    return lines


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMES:,} more parameters" if len(names) > _NAMES else ""
    return f"of {', '.join(names[:_NAMES])}{more}"


def _strange_values_at_the_end(run: ShownRun) -> str:
    by_name = {name: not_finite(run[name].final) for name in run.names}
    nan, infinite = (sum(counts) for counts in zip(*by_name.values(), strict=True))
    if not nan and not infinite:
        return "at the end none is"
    counts = [f"{name} {sum(both):,}" for name, both in by_name.items() if sum(both)]
    more = f", and {len(counts) - _NAMES:,} more" if len(counts) > _NAMES else ""
    return f"at the end {not_finite_in_words(nan, infinite)}: {', '.join(counts[:_NAMES])}{more}"


# -- a parameter ---------------------------------------------------------------------------------


def without_gradient(parameter: ShownParameter) -> str:
    """How many of the entries that moved never had a gradient, and by what they moved.

    Empty, if none did.
    """
    count = parameter.why.moved_without_gradient
    if not count:
        return ""
    several = parameter.size > 1
    return (
        f"{f'{count:,} of them ' if several else ''}by {parameter.why.movers} alone: "
        f"{'their' if several else 'its'} gradient was 0 in every step"
    )


def strange_at_the_end(parameter: ShownParameter) -> str:
    """How many of its values are NaN and infinite at the end; empty, if none is."""
    strange = not_finite_in_words(*not_finite(parameter.final))
    return f"at the end {strange}" if strange else ""


def why_not(parameter: ShownParameter, reason: Reason) -> str:
    """Why entries with this reason did not move, in words."""
    strange = 0
    if reason is Reason.SWALLOWED:
        # What is NaN or infinite no update changes, so it was not rounding.
        strange = int(np.count_nonzero(parameter.why.where(reason) & ~np.isfinite(parameter.final)))
    if not strange:
        return reason.several
    if strange == parameter.why.counts[reason]:
        return "no update changes what is NaN or infinite"
    return f"{reason.several}, or ({strange:,} of them) to a value that is NaN or infinite"


def print_trap(parameter: ShownParameter) -> str:
    """What NumPy's own print of this parameter shows; empty where it shows all of it."""
    shown = printed_entries(parameter.shape)
    if shown.all():
        return ""
    moved = int(np.count_nonzero(parameter.moved & shown))
    entries = f"NumPy's print of this parameter shows {np.count_nonzero(shown):,} entries"
    if moved == 0:
        return f"{entries}; none of them moved, so it looks unchanged."
    return f"{entries}, of which {moved:,} moved."
