"""Initial weights: the moments of the draws, against the papers' formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case_support import sparse

import minigrad as mg
from minigrad.errors import KindError, MinigradError, ModelError, RangeError, ShapeError
from minigrad.init import BY_NAME

N_IN, N_OUT = 400, 300
VARIANCES = {"he": 2 / N_IN, "glorot": 2 / (N_IN + N_OUT), "lecun": 1 / N_IN}
PAPERS = [f"{name}_{form}" for name in VARIANCES for form in ("normal", "uniform")]


def weight(init: Any, dtype: Any = np.float64, seed: int = 0) -> Any:
    return mg.Dense(N_IN, N_OUT, init=init, dtype=dtype, rng=seed).weight.value


@sparse(
    pytest.mark.parametrize("name", VARIANCES),
    pytest.mark.parametrize("dtype", [np.float32, np.float64]),
    pytest.mark.parametrize("form", ["normal", "uniform"]),
)
def test_the_moments_are_the_papers(name: str, form: str, dtype: Any) -> None:
    """Mean 0 and the variance of the formula.

    A normal draw has the fourth moment 3, a uniform one 9/5 and bounds.
    """
    drawn = weight(f"{name}_{form}", dtype)
    std, n = VARIANCES[name] ** 0.5, N_IN * N_OUT
    assert dtype == drawn.dtype
    assert abs(drawn.mean()) < 5 * std / n**0.5
    np.testing.assert_allclose(drawn.std(), std, rtol=0.01)
    fourth = ((drawn / std).astype(np.float64) ** 4).mean()
    assert abs(fourth - (3 if form == "normal" else 9 / 5)) < 0.1
    if form == "uniform":
        assert 0.999 * 3**0.5 * std < np.abs(drawn).max() <= 3**0.5 * std * (1 + 1e-6)
    else:
        assert 3.9 * std < np.abs(drawn).max() < 6 * std


def test_the_names() -> None:
    """Three papers in two forms, and two constants; an unknown name lists them."""
    assert sorted([*PAPERS, "zeros", "ones"]) == sorted(BY_NAME)
    with pytest.raises(ModelError, match="no initializer 'xavier'; there are ") as caught:
        weight("xavier")
    assert [] == [name for name in BY_NAME if name not in str(caught.value)]


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1000), (1000, 1), (3, 700)])
@pytest.mark.parametrize("paper", VARIANCES)
def test_narrow_layers(paper: str, n_in: int, n_out: int) -> None:
    """n_in is the first axis, n_out the second, however different they are: the bound of a uniform
    draw tells.
    """
    init: Any = f"{paper}_uniform"
    drawn = mg.Dense(n_in, n_out, init=init, dtype=np.float64, rng=0).weight.value
    bound = (3 * {"he": 2 / n_in, "glorot": 2 / (n_in + n_out), "lecun": 1 / n_in}[paper]) ** 0.5
    assert 0.98 * bound < np.abs(drawn).max() <= bound
    assert (n_in, n_out) == drawn.shape


def test_the_default_is_he_normal_and_a_bias_of_0() -> None:
    """What `Dense` draws when nothing is said."""
    layer = mg.Dense(N_IN, N_OUT, rng=0)
    assert layer.weight.value.tobytes() == weight("he_normal", np.float32).tobytes()
    assert layer.bias is not None
    assert not layer.bias.value.any()


def test_both_dtypes_draw_the_same_numbers() -> None:
    """A float32 model starts where the float64 one of the same seed does, but for rounding."""
    assert (
        weight("he_normal").astype(np.float32).tobytes()
        == weight("he_normal", np.float32).tobytes()
    )


def test_the_story_begins_uniformly() -> None:
    """`uniform(-0.5, 0.5)`: its range, mean and variance."""
    drawn = weight(mg.init.uniform(-0.5, 0.5))
    assert drawn.min() >= -0.5
    assert drawn.max() < 0.5
    assert 0.999 < np.ptp(drawn) < 1
    assert abs(drawn.mean()) < 5 / (12 * drawn.size) ** 0.5
    np.testing.assert_allclose(drawn.var(), 1 / 12, rtol=0.01)


def test_normal_and_constant() -> None:
    """`normal(mean, std)` has both.

    `constant` is the same everywhere, and so are "zeros" and "ones".
    """
    drawn = weight(mg.init.normal(2.0, 0.5))
    assert abs(drawn.mean() - 2) < 5 * 0.5 / drawn.size**0.5
    np.testing.assert_allclose(drawn.std(), 0.5, rtol=0.01)
    assert {0.25} == set(weight(mg.init.constant(0.25)).ravel().tolist())
    assert {0.0} == set(weight("zeros").ravel().tolist())
    assert {1.0} == set(weight("ones").ravel().tolist())


def test_settings_at_their_ends() -> None:
    """A normal distribution without width is its mean, and has mean 0 and width 1 where nothing is
    said.
    """
    assert {2.0} == set(weight(mg.init.normal(2, 0)).ravel().tolist())
    assert weight(mg.init.normal(0, 1)).tobytes() == weight(mg.init.normal()).tobytes()
    assert abs(weight(mg.init.uniform(-3, -2)) + 2.5).max() <= 0.5


def test_seeds_and_generators() -> None:
    """The same seed draws the same weight; a generator goes on, so that two layers differ."""
    inits: list[Any] = [*PAPERS, mg.init.uniform(0, 1), mg.init.normal()]
    for init in inits:
        assert (
            weight(init, seed=3).tobytes()
            == weight(init, seed=3).tobytes()
            != weight(init, seed=4).tobytes()
        )
        rng = np.random.default_rng(3)
        first, second = (mg.Dense(20, 30, init=init, rng=rng).weight.value for _ in range(2))
        assert first.tobytes() != second.tobytes()


def test_an_initializer_of_ones_own() -> None:
    """Any callable `(shape, rng) -> array`; what it returns is copied and converted."""
    mine = np.arange(6).reshape(2, 3)
    asked: list[tuple[int, ...]] = []

    def draw(shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        asked.append(shape)
        assert np.random.default_rng(5).random() == rng.random()
        return mine

    layer = mg.Dense(2, 3, init=draw, rng=5)
    assert [(2, 3)] == asked
    assert mine.tolist() == layer.weight.value.tolist()
    layer.weight.value.fill(9)
    assert [0, 1, 2, 3, 4, 5] == mine.ravel().tolist()


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: mg.init.uniform(0.5, 0.5), RangeError),
        (lambda: mg.init.uniform(1, -1), RangeError),
        (lambda: mg.init.uniform(0, np.inf), RangeError),
        (lambda: mg.init.uniform("a", 1), KindError),  # type: ignore[arg-type]
        (lambda: mg.init.normal(0, -1), RangeError),
        (lambda: mg.init.normal(np.nan, 1), RangeError),
        (lambda: mg.init.constant(np.nan), RangeError),
        (lambda: weight(lambda shape, rng: np.ones(shape[::-1])), ShapeError),
        (lambda: weight(lambda shape, rng: 1.0), ShapeError),
        (lambda: weight(lambda shape, rng: np.full(shape, "a")), KindError),
        (lambda: weight(lambda shape, rng: np.full(shape, 1j)), KindError),
        (lambda: weight(None), KindError),
        (lambda: mg.init.normal(0, np.inf), RangeError),
        (lambda: mg.init.normal("a"), KindError),  # type: ignore[arg-type]
        (lambda: mg.init.constant("a"), KindError),  # type: ignore[arg-type]
    ],
    ids=[
        "empty",
        "turned",
        "infinite",
        "text",
        "negative",
        "mean",
        "NaN",
        "turned shape",
        "number",
        "text draw",
        "complex draw",
        "nothing",
        "infinite width",
        "text mean",
        "text constant",
    ],
)
def test_settings_out_of_range(make: Any, error: type[MinigradError]) -> None:
    """What cannot be drawn is refused, not stretched."""
    with pytest.raises(error):
        make()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: mg.init.uniform(np.inf, 1), "low"),
        (lambda: mg.init.uniform(0, np.inf), "high"),
        (lambda: mg.init.normal(np.inf, 1), "mean"),
        (lambda: mg.init.normal(0, -1), "std"),
        (lambda: mg.init.constant(np.inf), "value"),
        (lambda: weight(lambda shape, rng: np.full(shape, "a")), "what init returned"),
        (lambda: weight(lambda shape, rng: np.ones(1)), "what init returned"),
    ],
    ids=["low", "high", "mean", "std", "value", "text draw", "shape draw"],
)
def test_an_error_names_the_setting(make: Any, name: str) -> None:
    """Of two numbers that were given, it says which one is wrong."""
    with pytest.raises(MinigradError, match=rf"\b{name}\b"):
        make()
