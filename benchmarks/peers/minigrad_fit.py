"""minigrad: `fit` with its defaults, which also measure accuracy and look for non-finite losses."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import Workload

import minigrad as mg
from peers import Program
from peers.minigrad_loops import parts


def make(workload: Workload, x: Any, y: Any) -> Program:
    """Whole epochs, as `fit` trains."""
    model, loss, optimizer, data = parts(workload, x, y)

    def steps(count: int) -> float:
        epochs = count // workload.steps_per_epoch
        history = mg.fit(model, loss, optimizer, data, epochs=epochs, progress=False)
        return float(np.mean(history["loss"]))

    return Program(steps, workload.steps_per_epoch)
