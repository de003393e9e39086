"""Promise 7: there is no global randomness."""

from __future__ import annotations

import pickle

import numpy as np
from promise_support import bits, build, data_of, train

import minigrad as mg


def test_7_the_global_random_state_is_neither_used_nor_changed() -> None:
    """A whole training leaves NumPy's global random state alone, and does not depend on it."""
    ends = []
    for seed in (0, 1):
        np.random.seed(seed)  # noqa: NPY002
        before = pickle.dumps(np.random.get_state())  # noqa: NPY002
        model = build(np.float32)
        train(model, mg.SGD(model, lr=0.1), 3)
        model.predict(data_of(np.float32)[0])
        mg.testing.check_gradients(mg.Dense(2, 2, rng=0), np.ones((2, 2)))
        mg.Dense(2, 2)
        assert before == pickle.dumps(np.random.get_state())  # noqa: NPY002
        ends.append(bits(model))
    assert ends[0] == ends[1]


def test_7_rng_is_a_seed_or_a_generator() -> None:
    """A seed and the generator made from it draw the same; two layers without `rng` do not."""
    by_seed = mg.Dense(5, 4, rng=3).weight.value
    assert by_seed.tobytes() == mg.Dense(5, 4, rng=np.random.default_rng(3)).weight.value.tobytes()
    assert mg.Dense(5, 4).weight.value.tobytes() != mg.Dense(5, 4).weight.value.tobytes()


def test_7_one_generator_passed_on_goes_on() -> None:
    """Two layers that share a generator get different weights."""
    rng = np.random.default_rng(3)
    assert (
        mg.Dense(5, 4, rng=rng).weight.value.tobytes()
        != mg.Dense(5, 4, rng=rng).weight.value.tobytes()
    )
