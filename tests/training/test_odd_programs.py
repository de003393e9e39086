"""Programs that are odd, but somebody's: losses, hooks, data and terminals that are not as ours
are.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from training_support import Training, classifier, plain, samples

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import (
    DataFileError,
    KindError,
    ShapeError,
    StaleParametersError,
    UnknownNameError,
)

# -- losses ---------------------------------------------------------------------------------------


class Squares(mg.Loss):
    """Half the squared distance; a subclass does something odd with its targets first."""

    def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
        self.error = logits - self.prepared(np.asarray(targets))
        return float((self.error**2).sum() / 2 / len(logits))

    def backward(self) -> Array:
        return np.asarray(self.error / len(self.error))

    def prepared(self, targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return targets


def regression(loss: mg.Loss, targets: npt.NDArray[Any], batch_size: int = 5) -> Training:
    model = mg.Sequential(mg.Dense(4, targets.shape[1], rng=0))
    data = mg.Batches(samples(len(targets))[0], targets, batch_size, rng=1)
    return Training(model, loss, mg.SGD(model, lr=0.01), data)


def test_a_loss_that_writes_into_its_targets() -> None:
    """What it is given are copies: nobody's data change, read-only data are good, and training sees
    them as they are.
    """

    class Masked(Squares):
        def prepared(self, targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
            targets[targets == -1] = 0
            return targets

    targets = np.where(np.random.default_rng(0).random((23, 2)) < 0.5, -1.0, 2.0)
    before = targets.tobytes()
    targets.flags.writeable = False
    regression(Masked(), targets).fit(
        1, validation_data=(samples(9)[0], targets[:9]), progress=True
    )
    assert before == targets.tobytes()


def test_a_loss_of_pairs_sees_batches_alone() -> None:
    """Before the first step it is not given more samples than a batch of some size holds: pairs of
    all would be too many.
    """
    seen: list[int] = []

    class Pairs(Squares):
        def prepared(self, targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
            seen.append(len(targets))
            return targets

    regression(Pairs(), np.zeros((1000, 1)), 50).fit(1)
    assert [50] * 21 == seen


def test_a_loss_with_random_numbers_of_its_own() -> None:
    """Neither the look before the first step nor validation draws any: fit is the loop by hand."""

    class Noisy(Squares):
        def __init__(self) -> None:
            self.rngs = [np.random.default_rng(0)]

        def prepared(self, targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
            return targets + self.rngs[0].normal(size=targets.shape)

    targets = np.zeros((23, 2))
    by_hand, fitted = regression(Noisy(), targets), regression(Noisy(), targets)
    by_hand.by_hand(2)
    fitted.fit(2, validation_data=(samples(9)[0], targets[:9]), progress=True)
    assert by_hand.bits() == fitted.bits()


def test_a_loss_whose_batches_may_weigh_nothing() -> None:
    """A batch of the weight 0 does not count, also if it is the first."""

    class Weighted(Squares):
        def prepared(self, targets: npt.NDArray[Any]) -> npt.NDArray[Any]:
            self.weight = float(targets.sum())
            return targets

    training = regression(Weighted(), np.zeros((20, 1)))
    assert not np.isfinite(training.fit(1)["loss"][0])
    assert training.fit(0).epochs == 0


def test_a_batch_of_which_all_is_ignored_is_explained() -> None:
    """The mean over nothing is NaN, as in PyTorch; the reason says that it is over nothing."""
    model = mg.Sequential(mg.Dense(4, 3, rng=0))
    data = mg.Batches(samples(20)[0], np.full(20, -1), 5, rng=1)
    history = mg.fit(
        model, mg.SoftmaxCrossEntropy(ignore_index=-1), mg.SGD(model, lr=0.1), data, epochs=1
    )
    assert "all samples of the batch are ignored, or have the weight 0" in history.stopped


def test_float32_losses_are_summed_in_float64() -> None:
    """The mean of a loss that returns NumPy's float32 is a mean of Python's numbers."""

    class Single(Squares):
        def forward(self, logits: Array, targets: npt.ArrayLike) -> float:
            return np.float32(super().forward(logits, targets))  # type: ignore[return-value]

    seen: list[float] = []

    class Losses(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            assert type(event.loss) is float
            seen.append(event.loss)

    history = regression(Single(), np.ones((20, 1))).fit(1, hooks=[Losses()])
    np.testing.assert_allclose(history["loss"], [np.mean(seen, dtype=np.float64)], rtol=1e-15)


# -- layers --------------------------------------------------------------------------------------


class Drifting(mg.Layer):
    """Has a buffer that it changes in place, and random numbers in a list."""

    buffers = ("mean",)

    def __init__(self, at: int) -> None:
        self.mean = np.zeros(4, np.float32)
        self.rngs = [np.random.default_rng(0)]
        self.left = at

    def forward(self, x: Array) -> Array:
        if self.training:
            self.left -= 1
            self.mean += self.rngs[0].random(4, dtype=np.float32)
        return x * (np.nan if self.training and self.left < 0 else 1)

    def backward(self, grad: Array) -> Array:
        return grad


def test_buffers_that_are_changed_in_place_are_those_before_the_step() -> None:
    """After a NaN in the fourth step: three draws have been added to the buffer, and the generator
    stands after them.
    """
    layer = Drifting(3)
    model = mg.Sequential(layer, mg.Dense(4, 3, rng=0))
    x, y = samples(20)
    history = mg.fit(
        model, mg.SoftmaxCrossEntropy(), mg.SGD(model, lr=0.1), mg.Batches(x, y, 5, rng=1), epochs=1
    )
    assert history.stopped.startswith("step 3: the loss is nan")
    rng, expected = np.random.default_rng(0), np.zeros(4, np.float32)
    for _ in range(3):
        expected += rng.random(4, dtype=np.float32)
    assert expected.tobytes() == layer.mean.tobytes()
    assert rng.random() == layer.rngs[0].random()


def test_generators_in_lists_and_in_optimizers_resume(tmp_path: Path) -> None:
    """A layer with its generators in a list, and an optimizer with noise of its own, go on bit for
    bit.
    """

    class Langevin(mg.Optimizer):
        def __init__(self, model: mg.Layer) -> None:
            super().__init__(model, 0.01)
            self.noise = {"rng": np.random.default_rng(3)}

        def compute(self, values: Array, grads: Array, update: Array) -> None:
            update[...] = -self.current_lr * grads + 0.01 * self.noise["rng"].normal(
                size=len(grads)
            )

    def build() -> Training:
        model = mg.Sequential(Drifting(1000), mg.Dense(4, 3, rng=0))
        x, y = samples(20)
        return Training(
            model, mg.SoftmaxCrossEntropy(), Langevin(model), mg.Batches(x, y, 5, rng=1)
        )

    whole, part, rest = build(), build(), build()
    whole.fit(3)
    part.fit(1, hooks=[mg.Checkpoint(tmp_path / "x.npz")])
    rest.fit(3, resume_from=tmp_path / "x.npz")
    assert plain(whole.model.state_dict()) == plain(rest.model.state_dict())


# -- hooks ---------------------------------------------------------------------------------------


def test_a_plateau_without_its_figure_is_refused_at_once() -> None:
    """As EarlyStopping and Checkpoint are: before the first step, and not after the first epoch."""
    training = classifier()
    before = training.bits()
    with pytest.raises(
        UnknownNameError,
        match="ReduceOnPlateau monitors 'val_loss', but the epochs have only loss, accuracy",
    ):
        training.fit(1, hooks=[mg.ReduceOnPlateau(training.optimizer)])
    assert before == training.bits()


def test_a_state_that_no_file_can_hold_is_refused_at_once(tmp_path: Path) -> None:
    """Where a Checkpoint is there, each hook's state is looked at before the first step."""

    class Strange(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            pass

        def state_dict(self) -> dict[str, Any]:
            return {"seen": {1, 2}}

        def load_state_dict(self, state: Mapping[str, Any]) -> None:
            pass

    training = classifier()
    with pytest.raises(KindError, match="cannot hold 'the state of Strange/seen', a set"):
        training.fit(1, hooks=[Strange(), mg.Checkpoint(tmp_path / "x.npz")])
    assert training.optimizer.step_count == 0


def test_a_hook_may_watch_another_optimizer() -> None:
    """Only ours are bound to the optimizer that they were made for."""
    first, second = classifier(), classifier()

    class Watching(mg.Hook):
        optimizer = second.optimizer

        def on_epoch(self, event: mg.Epoch) -> None:
            assert self.optimizer.step_count == 0

    assert first.fit(1, hooks=[Watching()]).epochs == 1


def test_hooks_let_go_of_a_training_that_is_over(tmp_path: Path) -> None:
    """A pickled EarlyStopping does not carry the data along."""
    training = classifier()
    stopping, checkpoint = mg.EarlyStopping("loss"), mg.Checkpoint(tmp_path / "x.npz")
    training.fit(1, hooks=[stopping, checkpoint])
    assert max(len(pickle.dumps(hook)) for hook in (stopping, checkpoint)) < 4000


def test_two_checkpoints_are_told_apart_by_what_they_monitor(tmp_path: Path) -> None:
    """One that is resumed alone takes its own best; and another figure's best is no best."""
    training = classifier()
    both = [mg.Checkpoint(tmp_path / "a.npz"), mg.Checkpoint(tmp_path / "b.npz", monitor="loss")]
    history = training.fit(2, hooks=both)
    one = mg.Checkpoint(tmp_path / "b.npz", monitor="loss")
    mg.load(tmp_path / "a.npz", hooks=[one])
    assert {"monitor": "loss", "best": min(history["loss"])} == one.state_dict()
    other = mg.Checkpoint(tmp_path / "c.npz", monitor="accuracy")
    mg.load(tmp_path / "a.npz", hooks=[other])
    assert {"monitor": "accuracy", "best": None} == other.state_dict()


# -- models, data, terminals ---------------------------------------------------------------------


def test_parameters_that_have_moved_are_noticed_at_once() -> None:
    """The model was put into a larger one: nothing is drawn from the generator of the data."""
    training = classifier()
    mg.Sequential(training.model)
    before = plain(training.data.state_dict())
    with pytest.raises(StaleParametersError, match="have moved into another model"):
        training.fit(1)
    assert before == plain(training.data.state_dict())


def test_batchnorm_in_a_model_that_is_in_eval_mode() -> None:
    """It is trained in training mode, so a batch of one is refused."""
    x, y = samples(9)
    model = mg.Sequential(mg.Dense(4, 3, rng=0), mg.BatchNorm(3)).eval()
    with pytest.raises(ShapeError, match="gives a batch of 1"):
        mg.fit(
            model,
            mg.SoftmaxCrossEntropy(),
            mg.SGD(model, lr=0.1),
            mg.Batches(x, y, 4, rng=0),
            epochs=1,
        )


def test_a_rest_of_nothing_is_no_epoch(tmp_path: Path) -> None:
    """Somebody saved in the loop at the last batch, loaded, and trains on with fit: the first epoch
    is a whole one.
    """
    training = classifier()
    training.by_hand(1)
    saved = classifier()
    for number, (x, y) in enumerate(saved.data):
        saved.loss.forward(saved.model(x), y)
        saved.model.backward(saved.loss.backward())
        saved.optimizer.step()
        if number + 1 == len(saved.data):
            mg.save(tmp_path / "x", model=saved.model, optimizer=saved.optimizer, data=saved.data)
            break
    mg.load(tmp_path / "x", model=saved.model, optimizer=saved.optimizer, data=saved.data)
    expected, found = training.fit(1), saved.fit(1)
    assert dict(expected) == dict(found)
    assert plain(training.model.state_dict()) == plain(saved.model.state_dict())


def test_fewer_epochs_than_the_checkpoint_has(tmp_path: Path) -> None:
    """From the middle of the third epoch with epochs=2: nothing is trained, and no best is
    restored.
    """

    class Stop(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            if event.step == 2 * len(training.data) + 1:
                event.stop("now")

    training = classifier()
    training.fit(5, hooks=[Stop(), mg.EarlyStopping("accuracy"), mg.Checkpoint(tmp_path / "x.npz")])
    resumed = classifier(seed=1)
    history = resumed.fit(2, hooks=[mg.EarlyStopping("accuracy")], resume_from=tmp_path / "x.npz")
    assert history.epochs == 2
    assert plain(training.model.state_dict()) == plain(resumed.model.state_dict())


@pytest.mark.parametrize("closed", [False, True])
def test_a_standard_output_that_is_no_file(closed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something with write and flush stands for it, or it is closed: then nothing is shown."""

    class Tee:
        def write(self, text: str) -> int:
            raise AssertionError

        def flush(self) -> None:
            raise AssertionError

    out: Any = io.StringIO() if closed else Tee()
    if closed:
        out.close()
    training = classifier()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        history = training.fit(1)
    assert history.epochs == 1


def test_errors_show_no_corner_of_an_array(tmp_path: Path) -> None:
    """What was given instead of data or of a model is told by its shape."""
    training = classifier()
    x, y = samples(2000)
    with pytest.raises(
        KindError,
        match=r"fit got a tuple of 2 as data, expected minigrad\.Batches\(x, y, batch_size\)$",
    ):
        mg.fit(training.model, training.loss, training.optimizer, (x, y), epochs=1)  # type: ignore[arg-type]
    with pytest.raises(
        KindError, match=r"save got an array of shape \(2000, 4\) as model, expected a layer"
    ):
        mg.save(tmp_path / "x", model=x)  # type: ignore[arg-type]


def test_names_of_files_that_are_long_or_links(tmp_path: Path) -> None:
    """A name may be as long as the system allows.

    Where a link is, what it points to is replaced.
    """
    training = classifier()
    path = tmp_path / ("x" * 250)
    mg.save(path, model=training.model)
    link = tmp_path / "link"
    link.symlink_to(path.name)
    before = path.read_bytes()
    training.by_hand(1)
    mg.save(link, model=training.model)
    assert link.is_symlink()
    assert before != path.read_bytes()
    assert {path, link} == set(tmp_path.iterdir())
    with pytest.raises(DataFileError, match="File name too long"):
        mg.save(tmp_path / ("x" * 300), model=training.model)
