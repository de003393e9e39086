"""Optimizers and settings with which runs are recorded on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from disk_support import ROW, Make, Notes, Settings, Training, momentum

import minigrad as mg

OPTIMIZERS: dict[str, Make] = {
    "momentum": momentum,
    "nesterov, decay, clipping, schedule": lambda model: mg.SGD(
        model,
        lambda step: 0.1 * 0.95**step,
        momentum=0.9,
        nesterov=True,
        weight_decay=0.01,
        max_grad_norm=0.3,
    ),
    "decay of weights, clipped entries": lambda model: mg.SGD(
        model, 0.1, weight_decay={"*.weight": 0.1}, max_grad_value=0.05
    ),
    "tiny": lambda model: mg.SGD(model, 1e-8),
    "adam": lambda model: mg.Adam(model, 0.01),
    "adam everything": lambda model: mg.Adam(
        model,
        mg.LinearWarmup(mg.CosineDecay(0.05, steps=20, minimum=1e-3), steps=5),
        amsgrad=True,
        weight_decay={"*.weight": 0.01},
        max_grad_norm=0.3,
    ),
    "adamw": lambda model: mg.AdamW(model, mg.StepDecay(0.1, 10, 0.5), weight_decay=0.1),
    "rmsprop": lambda model: mg.RMSprop(
        model, 0.01, momentum=0.5, centered=True, weight_decay=0.01, max_grad_norm=1.0
    ),
}

KINDS: tuple[npt.DTypeLike, ...] = (np.float32, np.float64)
MODES: dict[str, Settings] = {
    "plain": {},
    "small blocks": {"keyframe_every": 3},
    "smallest blocks": {"keyframe_every": 1},
    "thinned": {"keyframe_every": 3, "budget": 30 * ROW},
    "thinned hard": {"budget": 5 * ROW},
    "ring": {"keyframe_every": 3, "budget": 30 * ROW, "on_full": "ring"},
    "small ring": {"budget": 5 * ROW, "on_full": "ring"},
    "stopped": {"keyframe_every": 3, "budget": 30 * ROW, "on_full": "stop"},
    "every seventh": {"every": 7},
    "every seventh, thinned": {"every": 7, "keyframe_every": 2, "budget": 20 * ROW},
    "gradients too": {"keep": ("update", "grad"), "keyframe_every": 4},
    "gradients too, sampled": {"keep": ("update", "grad"), "every": 3, "keyframe_every": 2},
    "gradients alone": {"keep": ("grad",), "keyframe_every": 4},
    "counts alone": {"keep": ()},
    "rows alone": {"aggregates": False, "keyframe_every": 5},
    "coactivation": {"coactivation": True, "keyframe_every": 5},
}
SAMPLED = {
    name
    for name, mode in MODES.items()
    if "every" in mode or "update" not in mode.get("keep", ("update",))
}


def recorded(
    path: Path, steps: int = 40, make: Make = momentum, **settings: Any
) -> tuple[Training, Notes]:
    """A finished run on disk, and what was true while it was made."""
    training = Training(make, settings.pop("dtype", np.float32))
    notes = Notes(training)
    with training.recorder(path, **settings):
        training.go(steps)
    return training, notes
