"""What is measured: minigrad and its peers, each in a module imported only where it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # so that NumPy is not imported by who only wants the names
    from workloads import Workload


class Program(NamedTuple):
    """A training that is set up."""

    steps: Callable[[int], float]
    """Trains for so many steps, and returns the mean of their losses."""

    unit: int = 1
    """It trains for multiples of so many steps."""

    prepare: Callable[[int], None] = lambda count: None
    """Is called before so many steps, and is not timed."""

    close: Callable[[], None] = lambda: None
    """Gives back what it holds."""


@dataclass(frozen=True)
class Peer:
    """Something that trains a workload."""

    label: str
    module: str
    needs: str = "numpy"
    """The package that it needs."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    workloads: tuple[str, ...] = ("S", "M", "L", "A", "XL")
    trains: bool = True
    """Whether it really trains, and has a loss."""

    helpers: int = 0
    """How many threads work beside the one that trains."""

    @property
    def left_out(self) -> str:
        """Why it cannot run here; empty where it can."""
        return "" if find_spec(self.needs) else f"{self.needs} is not installed"

    def make(self, workload: Workload, x: Any, y: Any) -> Program:
        """Set the training up, for these samples."""
        program: Program = import_module(f"peers.{self.module}").make(
            workload, x, y, **self.settings
        )
        return program


def _recorded(label: str, **settings: Any) -> Peer:
    # A thread of the recorder's own asks the system for memory, or writes to the disk.
    made = {"recorded": settings}
    return Peer(
        f"minigrad, {label}", "minigrad_loops", "minigrad", made, ("S", "M", "L", "A"), helpers=1
    )


PEERS = {
    "products": Peer("the bare matrix products", "products", trains=False),
    "minigrad": Peer("minigrad, the loop by hand", "minigrad_loops", "minigrad"),
    "again": Peer("minigrad, the same loop once more", "minigrad_loops", "minigrad"),
    "fit": Peer("minigrad, `fit`", "minigrad_fit", "minigrad"),
    "learner": Peer("a learner's float64 program", "learner"),
    "plain": Peer("a competent plain float32 program", "plain"),
    "classes": Peer("float32 classes that allocate", "classes"),
    "sklearn": Peer("scikit-learn, float32", "scikit", "sklearn"),
    "torch": Peer("PyTorch, eager", "pytorch", "torch"),
    "torch-compile": Peer("PyTorch, `torch.compile`", "pytorch", "torch", {"compiled": True}),
    "jax": Peer("JAX, one jitted step", "jax_steps", "jax"),
    "jax-scan": Peer("JAX, `lax.scan` over an epoch", "jax_steps", "jax", {"scanned": True}),
    "rows": _recorded("rows recorded in memory", aggregates=False),
    "counts": _recorded("counts recorded", keep=()),
    "both": _recorded("both recorded in memory"),
    "disk": _recorded("both recorded on disk", on_disk=True),
}
"""By name; in this order they are shown, and take their turns."""
