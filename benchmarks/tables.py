"""The results as Markdown: times, ratios with their targets, and how they were measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import machine
import targets
from peers import PEERS
from results import Figure, Results

OTHERS = ("learner", "plain", "classes", "sklearn", "torch", "torch-compile", "jax", "jax-scan")
RECORDED = ("rows", "counts", "both", "disk")
NONE: Mapping[str, float] = {}


def page(results: Results) -> str:
    """Everything, for a page of the documentation."""
    parts = [("Time of a step, in microseconds", times(results))]
    for mine, label in (("minigrad", "the loop by hand"), ("fit", "`fit`")):
        rows = [
            ratios(results, PEERS[other].label, other, mine, "≥", targets.AT_LEAST)
            for other in OTHERS
        ]
        parts.append((f"Others, in times of minigrad's step ({label})", table(results, rows)))
    rows = [
        ratios(
            results, PEERS[mine].label, mine, "products", "≤", {mine: targets.AT_MOST["products"]}
        )
        for mine in ("minigrad", "fit")
    ]
    parts.append(("minigrad, in times of the bare matrix products", table(results, rows)))
    rows = [
        ratios(results, PEERS[kept].label, kept, "minigrad", "≤", targets.RECORDED_AT_MOST)
        for kept in RECORDED
    ]
    parts.append(("Recording, in times of the same loop without it", table(results, rows)))
    if results.clock == "wall":
        used = replace(results, clock="processor")
        rows = [ratios(used, PEERS[kept].label, kept, "minigrad", "≤", {}) for kept in RECORDED]
        parts.append(
            (
                "The same in processor time, which counts the recorder's own threads too",
                table(results, rows),
            )
        )
    waiting = [_ratio(results.waiting(name, "minigrad")) for name in results.workloads]
    rows = [
        ratios(
            results, "the same loop in two processes, one / the other", "again", "minigrad", "≤", {}
        ),
        ["waiting for the core: time on the wall / processor time", *waiting],
    ]
    parts.append(("Noise: both would be 1.00 on a quiet machine", table(results, rows)))
    missing = [(peer, why) for result in results.left_out.values() for peer, why in result.items()]
    left = [f"- {PEERS[peer].label}: {why}" for peer, why in dict(missing).items()]
    parts.append(("Left out", "\n".join(left)))
    parts.append(("How this was measured", how(results)))
    return "\n".join(f"### {title}\n\n{text}\n" for title, text in parts if text)


def how(results: Results) -> str:
    """Where, when and how."""
    about = results.about
    clock = (
        "time on the wall"
        if results.clock == "wall"
        else "processor time, in which waiting does not count"
    )
    return (
        f"{machine.described(about)}\n{about['rounds']} rounds, in each of which every peer had a "
        f"slice of about {about['seconds']} s; medians of {clock}. ± is half the width of the "
        f"middle half."
    )


def times(results: Results) -> str:
    """Microseconds a step, of each peer on each workload."""
    rows = [
        [peer.label, *(_time(results.step(name, key)) for name in results.workloads)]
        for key, peer in PEERS.items()
    ]
    return table(results, rows)


def ratios(
    results: Results,
    label: str,
    above: str,
    below: str,
    sign: str,
    wanted: Mapping[str, Mapping[str, float]],
) -> list[str]:
    """A row of paired ratios, each with its target, if it has one."""
    bars = wanted.get(above, NONE)
    return [
        label,
        *(
            _ratio(results.ratio(name, above, below), sign, bars.get(name))
            for name in results.workloads
        ),
    ]


def met(value: float, sign: str, wanted: float) -> bool:
    """Whether a ratio, rounded as it is shown, reaches its target."""
    shown = float(f"{value:.2f}")
    return shown >= wanted if sign == "≥" else shown <= wanted


def table(results: Results, rows: list[list[str]]) -> str:
    """Those of the rows that hold anything; empty where none does."""
    full = [row for row in rows if any(row[1:])]
    head = ["", *results.workloads]
    lines = [head, ["---", *["---:"] * len(results.workloads)], *full]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) if full else ""


def _time(result: Figure | None) -> str:
    if result is None:
        return ""
    if result.median >= 100_000:
        return f"{result.median / 1000:.1f} ± {result.spread / 1000:.1f} ms"
    digits = 1 if result.median < 1000 else 0
    return f"{result.median:,.{digits}f} ± {result.spread:,.{digits}f}"


def _ratio(result: Figure | None, sign: str = "", wanted: float | None = None) -> str:
    if result is None:
        return ""
    text = f"{result.median:.2f} ± {result.spread:.2f}"
    if wanted is None:
        return text
    return (
        f"{text}<br>{'✓' if met(result.median, sign, wanted) else '✗ missed'} {sign} {wanted:.2f}"
    )
