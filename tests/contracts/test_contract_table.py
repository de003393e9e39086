"""The table of the contracts is complete."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from contract_table import ACTIVATIONS, LAYERS, LOSSES, MODELS, OPTIMIZERS, SETTINGS, TARGETS

import minigrad as mg
from minigrad.activations import FUNCTIONS


@pytest.mark.parametrize(
    ("base", "table"), [(mg.Layer, LAYERS), (mg.Loss, LOSSES), (mg.Optimizer, OPTIMIZERS)]
)
def test_the_table_has_everything_public(base: type, table: dict[str, object]) -> None:
    """Whoever adds a layer, a loss or an optimizer adds its row here."""
    public = [thing for name in mg.__all__ if inspect.isclass(thing := getattr(mg, name))]
    concrete = [
        cls.__name__ for cls in public if issubclass(cls, base) and not inspect.isabstract(cls)
    ]
    assert concrete
    assert not [name for name in concrete if not any(row.split()[0] == name for row in table)]


def test_the_table_has_every_activation() -> None:
    """Whoever adds an activation adds it here; there are the twelve of the design."""
    assert set(ACTIVATIONS) == set(FUNCTIONS)
    assert 12 == len(ACTIVATIONS)


@pytest.mark.parametrize("layer", ["Dropout", "BatchNorm", "LayerNorm"])
def test_the_table_has_both_modes(layer: str) -> None:
    """Layers that have modes are there in training and in eval mode."""
    assert {layer, f"{layer} in eval mode"} <= set(LAYERS)


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop"])
def test_the_table_has_every_option(optimizer: str) -> None:
    """Each option of each optimizer is used by a row, and each row is there with a schedule too."""
    options = set(inspect.signature(getattr(mg, optimizer)).parameters) - {"model", "lr"}
    model = MODELS["chain"]
    defaults = {}
    used = set()
    for name, make in OPTIMIZERS.items():
        if name.split()[0] != optimizer:
            continue
        found = make(model(np.float64))
        settings = {option: repr(getattr(found, option)) for option in options}
        if name == optimizer:
            defaults = settings
        used |= {option for option in options if settings[option] != defaults[option]}
    assert options - {"eps"} == used - {"eps"}
    assert all(f"{name} with a schedule" in OPTIMIZERS for name in SETTINGS)


def test_every_loss_has_its_targets() -> None:
    """The first word of each row of the losses says which targets it takes."""
    assert {name.split()[0] for name in LOSSES} == set(TARGETS)
