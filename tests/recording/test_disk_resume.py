"""`resume=True` goes on with a run on disk: another session, the same count of steps, and
everything stays exact.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_support import slow, sparse
from disk_support import (
    ROW,
    Notes,
    Settings,
    Training,
    consistent,
    contents,
    flat_value,
    momentum,
    some,
    wrong,
)
from recording_support import bits, network

import minigrad as mg
from minigrad.errors import NotExactError, OutOfBandWrite, RangeError, RunError
from minigrad.recording import disk_store as disk
from minigrad.recording.disk_store import DiskStore
from minigrad.runs.block import Block

MODES: dict[str, Settings] = {
    "plain": {},
    "small blocks": {"keyframe_every": 3},
    "thinned": {"keyframe_every": 3, "budget": 30 * ROW},
    "ring": {"keyframe_every": 3, "budget": 30 * ROW, "on_full": "ring"},
    "stopped": {"keyframe_every": 3, "budget": 30 * ROW, "on_full": "stop"},
    "every third": {"every": 3},
    "gradients too": {"keep": ("update", "grad"), "keyframe_every": 4},
    "counts alone": {"keep": ()},
    "rows alone": {"aggregates": False},
}
SAMPLED = {"every third", "counts alone"}


def cut_off(
    path: Path, flushed: int, lost: int, monkeypatch: pytest.MonkeyPatch, **settings: Any
) -> Training:
    """A run as a kill leaves it: steps that count for readers, and then some that were not told of
    any more.
    """
    monkeypatch.setattr(disk, "_FLUSH_SECONDS", 1e9)
    training = Training()
    alive = path.with_name("alive")
    with training.recorder(alive, **settings) as recorder:
        training.go(flushed)
        assert isinstance(recorder._store, DiskStore)  # noqa: SLF001
        recorder._store.flush()  # noqa: SLF001
        training.go(lost)
        shutil.copytree(alive, path)
    return training


def copied(training: Training, fresh: bool) -> Training:
    """The same training in another process: its model, and its optimizer or a new one."""
    other = Training()
    other.model.load_state_dict(training.model.state_dict())
    other.data.load_state_dict(training.data.state_dict())
    if not fresh:
        other.optimizer.load_state_dict(training.optimizer.state_dict())
    return other


@sparse(
    pytest.mark.parametrize("mode", some(MODES)),
    pytest.mark.parametrize("fresh", [False, True]),
    every=3,
)
def test_sessions_make_one_run(mode: str, fresh: bool, tmp_path: Path) -> None:
    """Three sessions, each with an optimizer restored or new, are one run of consecutive steps,
    exact in each.
    """
    path, settings = tmp_path / "run", MODES[mode]
    training = Training()
    values = {}
    for session in range(3):
        if session:
            training = copied(training, fresh)
        notes = Notes(training, 11 * session if fresh else 0)
        with training.recorder(path, resume=session > 0, **settings) as recorder:
            training.go(11)
            assert 11 * (session + 1) == len(recorder.run.steps)
        values.update(notes.values)
        run = mg.Run.open(path)
        assert list(range(11 * (session + 1))) == list(run.steps)
        assert [] == wrong(run, values)
        assert [] == consistent(run, mode in SAMPLED)
        assert 11 * (session + 1) - 1 in run.exact_steps
        assert run.complete
        assert () == run.notes
    told = json.loads((path / "run.json").read_text("utf-8"))
    assert [{"first_step": start, "last_step": start + 10} for start in (0, 11, 22)] == told[
        "sessions"
    ]
    assert [training.data.batch_size] * 33 == [
        len(rows) for step in run.steps if (rows := run.indices(step)) is not None
    ]
    assert not np.isnan(run.loss).any()
    restored = Training().model
    run.restore(restored)
    for name, array in training.model.state_dict().items():
        assert bits(array) == bits(restored.state_dict()[name])


@sparse(
    pytest.mark.parametrize("mode", ["plain", "small blocks", "every third", "counts alone"]),
    every=4,
)
def test_sessions_count_as_one(mode: str, tmp_path: Path) -> None:
    """Two sessions of a training have the counts and reasons of the same training in one go, in
    memory.
    """
    whole = Training()
    with whole.recorder(**MODES[mode]) as recorder:
        whole.go(20)
    training = Training()
    for _ in range(2):
        with training.recorder(tmp_path / "run", resume=(tmp_path / "run").exists(), **MODES[mode]):
            training.go(10)
    run = mg.Run.open(tmp_path / "run")
    assert recorder.run.first_difference(run) is None
    for name in run:
        assert recorder.run[name].why.counts == run[name].why.counts
        for count in ("moves", "swallowed", "first_move", "last_move"):
            assert getattr(recorder.run[name], count).tolist() == getattr(run[name], count).tolist()
    assert recorder.run.loss.tolist() == run.loss.tolist()


@sparse(pytest.mark.parametrize("mode", ["small blocks", "every third"]), every=2)
def test_values_changed_between_sessions(mode: str, tmp_path: Path) -> None:
    """Values that changed between two sessions are told of.

    Both sessions stay exact, and nothing is called damaged.
    """
    path = tmp_path / "run"
    training = Training()
    notes = Notes(training)
    with training.recorder(path, **MODES[mode]):
        training.go(7)
    model = training.model
    model.load_state_dict({name: array + 1 for name, array in model.state_dict().items()})
    changed = training.flat.copy()
    with training.recorder(path, resume=True, **MODES[mode]):
        training.go(7)
    run = mg.Run.open(path)
    assert ["before step 7 the values changed while they were not recorded"] == list(run.notes)
    assert [] == wrong(run, notes.values)
    assert [] == consistent(run, mode in SAMPLED)
    if mode not in SAMPLED:
        assert 14 == run.verify().checked
        assert bits(notes.values[7] - changed) == bits(
            np.concatenate([run[name].effective(7).ravel() for name in run])
        )


def test_steps_between_sessions_are_a_gap(tmp_path: Path) -> None:
    """Steps that an optimizer made between two sessions are a gap of the run, and what follows is
    exact.
    """
    training = Training()
    notes = Notes(training)
    with training.recorder(tmp_path / "run"):
        training.go(5)
    training.go(3)
    with training.recorder(tmp_path / "run", resume=True):
        training.go(5)
    run = mg.Run.open(tmp_path / "run")
    assert [0, 1, 2, 3, 4, 8, 9, 10, 11, 12] == list(run.steps)
    assert [(5, 7)] == [(gap.first, gap.last) for gap in run.gaps]
    assert [] == wrong(run, notes.values)
    assert run.verify()


@sparse(
    pytest.mark.parametrize("mode", MODES),
    pytest.mark.parametrize("lost", some([0, 1, 2, 3, 4, 5, 9, 14])),
    every=4,
)
def test_a_run_that_was_cut_off_goes_on(
    mode: str, lost: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose writer was killed, with any number of steps not told of, goes on from the model
    that it restores.
    """
    path, settings = tmp_path / "run", MODES[mode]
    killed = cut_off(path, 8, lost, monkeypatch, **settings)
    before = mg.Run.open(path)
    known = {step: flat_value(before, step) for step in before.exact_steps.tolist()}
    assert not before.complete
    training = Training()
    exact = before.exact_steps.tolist()
    if exact:
        before.restore(training.model, exact[-1])
    del killed
    notes = Notes(training, len(before.steps))
    with training.recorder(path, resume=True, **settings):
        training.go(6)
    run = mg.Run.open(path)
    assert list(range(len(before.steps) + 6)) == list(run.steps)
    assert 8 <= len(before.steps) <= 8 + lost
    assert [] == wrong(run, {**known, **notes.values})
    still = set(run.exact_steps.tolist())
    assert mode in ("thinned", "ring", "stopped", *SAMPLED) or set(exact) <= still
    assert len(run.steps) - 1 in still
    assert [] == consistent(run, mode in SAMPLED)
    assert run.complete
    numbers = {int(number) for number in np.load(path / "blocks.npy")["number"]}
    for folder in ("updates", "grads", "values", "keyframes"):
        files = (
            {int(file.stem) for file in (path / folder).glob("*")}
            if (path / folder).exists()
            else set()
        )
        assert files <= numbers, f"{folder} holds files that belong to no block"


@sparse(
    pytest.mark.parametrize(
        ("change", "what"),
        [
            ({"params": "0.*"}, "parameters"),
            ({"keep": ("update", "grad")}, "kinds"),
            ({"every": 3}, "kinds"),
            ({"keep": ()}, "kinds"),
            ({"dtype": np.float64}, "dtype"),
            ({"model": "other"}, "parameters"),
        ],
    ),
    every=3,
)
def test_another_model_cannot_go_on(change: Settings, what: str, tmp_path: Path) -> None:
    """A run of other parameters, kinds or dtype is refused with an error that names the difference.

    It stays as it was.
    """
    path = tmp_path / "run"
    training = Training()
    with training.recorder(path):
        training.go(4)
    before = contents(path)
    settings = dict(change)
    optimizer = Training(dtype=settings.pop("dtype", np.float32)).optimizer
    if settings.pop("model", None):
        optimizer = momentum(network(5, 4, 3))
    with pytest.raises(RunError, match=what) as error:
        mg.Recorder(optimizer, path=path, resume=True, **settings)
    assert str(path) in str(error.value)
    assert before == contents(path)


def test_a_shape_that_differs_is_named(tmp_path: Path) -> None:
    """With many parameters, the error says which one differs, not only that some do."""
    with mg.Recorder(momentum(network(5, 4, 4, 3)), path=tmp_path / "run"):
        pass
    with pytest.raises(RunError, match=r"2\.weight"):
        mg.Recorder(momentum(network(5, 4, 6, 3)), path=tmp_path / "run", resume=True)


def test_nothing_to_go_on_with(tmp_path: Path) -> None:
    """`resume` without a path, and with one that holds no run, is an error; nothing is made."""
    training = Training()
    with pytest.raises(RangeError, match="path"):
        training.recorder(resume=True)
    with pytest.raises(RunError, match="nothing"):
        training.recorder(tmp_path / "nothing", resume=True)
    assert [] == list(tmp_path.iterdir())


def test_an_optimizer_that_has_gone_back(tmp_path: Path) -> None:
    """An optimizer that was taken back goes on where the run ended: its count goes on, and a note
    says so.
    """
    path = tmp_path / "run"
    training = Training()
    training.go(2)
    early = training.optimizer.state_dict()
    with training.recorder(path):
        training.go(6)
    training.optimizer.load_state_dict(early)
    with training.recorder(path, resume=True):
        training.go(3)
    run = mg.Run.open(path)
    assert (2, 3, 4, 5, 6, 7, 8, 9, 10) == run.steps
    assert any("step 8 is the optimizer's step 2" in note for note in run.notes)
    assert run.verify()


@sparse(pytest.mark.parametrize("fresh", [False, True]), every=2)
def test_sampling_counts_the_runs_own_steps(fresh: bool, tmp_path: Path) -> None:
    """`every=3` keeps each third step of the run, whatever the count of the optimizer that goes
    on.
    """
    training = Training()
    for session in range(3):
        if session:
            training = copied(training, fresh)
        with training.recorder(tmp_path / "run", resume=session > 0, every=3):
            training.go(5)
            if session == 1:
                kept = mg.Run.open(tmp_path / "run")["0.weight"].updates.steps.tolist()
                assert set(kept) <= {0, 3, 4, 6, 9}
    run = mg.Run.open(tmp_path / "run")
    assert [0, 3, 4, 6, 9, 12, 14] == run[
        "0.weight"
    ].updates.steps.tolist()  # 4, 9 and 14 are the last of a session
    assert [0, 3, 4, 6, 9, 12, 14] == run.exact_steps.tolist()


def test_what_a_run_that_was_cut_off_can_restore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a step, `restore` takes the last that is known exactly.

    Where none is, it says so and writes nothing.
    """
    killed = cut_off(tmp_path / "run", 8, 3, monkeypatch)
    run = mg.Run.open(tmp_path / "run")
    model = Training(seed=5).model
    run.restore(model)
    last = run.exact_steps.tolist()[-1]
    assert 7 <= last < killed.optimizer.step_count
    assert bits(flat_value(run, last)) == bits(mg.ParameterVector.of(model).values)

    cut_off(tmp_path / "blind" / "run", 8, 3, monkeypatch, keep=(), aggregates=False)
    blind = mg.Run.open(tmp_path / "blind" / "run")
    assert [] == blind.exact_steps.tolist()
    before = {name: bits(array) for name, array in model.state_dict().items()}
    with pytest.raises(
        NotExactError,
        match="no step's values are known exactly: the record was cut off before it kept any",
    ):
        blind.restore(model)
    with pytest.raises(NotExactError, match="the values after step 7 are not known to the bit"):
        blind.restore(model, 7)
    assert before == {name: bits(array) for name, array in model.state_dict().items()}


def test_start_and_stop_on_disk(tmp_path: Path) -> None:
    """One recorder, started and stopped again and again: one run, exact, with the gaps between its
    parts.
    """
    training = Training()
    notes = Notes(training)
    recorder = training.recorder(tmp_path / "run", keyframe_every=3)
    for part in range(4):
        with recorder:
            training.go(5)
        run = mg.Run.open(tmp_path / "run")
        assert run.complete
        assert 5 * (part + 1) == len(run.steps)
        assert [] == wrong(run, notes.values)
        training.go(2)
    run = recorder.run
    assert [(5, 6), (12, 13), (19, 20)] == [(gap.first, gap.last) for gap in run.gaps]
    assert 20 == run.verify().checked


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, slow(True)])
def test_many_sessions_do_not_eat_the_budget(again: bool, tmp_path: Path) -> None:
    """Forty sessions of one step take the room of forty steps and their keyframes, not of forty
    empty blocks.
    """
    training = Training()
    recorder = training.recorder(tmp_path / "run", budget=200 * ROW)
    for session in range(40):
        if again and session:
            recorder = training.recorder(tmp_path / "run", budget=200 * ROW, resume=True)
        with recorder:
            training.go(1)
    run = mg.Run.open(tmp_path / "run")
    assert () == run.gaps
    assert 40 == len(run.exact_steps)


def test_a_session_without_counts(tmp_path: Path) -> None:
    """Reasons hold for all steps or for none: a session that does not count cannot follow one that
    does.
    """
    training = Training()
    for first in (True, False):
        path = tmp_path / f"counted {first}"
        with training.recorder(path, aggregates=first):
            training.go(4)
        before = contents(path)
        with pytest.raises(RunError, match="its aggregates are"):
            training.recorder(path, resume=True, aggregates=not first)
        assert before == contents(path)


def test_no_reason_is_given_for_steps_that_were_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a session was not counted, nothing is said of what its gradients never were."""
    path = tmp_path / "run"
    cut_off(path, 8, 0, monkeypatch)
    training = Training()
    mg.Run.open(path).restore(training.model)
    later = Training(lambda model: mg.SGD(model, 0.1))
    later.model.load_state_dict(training.model.state_dict())
    later.model.freeze()
    layer = later.model[3]
    layer.unfreeze()
    with later.recorder(path, resume=True):
        later.go(4)
    run = mg.Run.open(path)
    reasons = run["0.weight"].why.counts
    assert mg.Reason.FROZEN not in reasons, "it was trained in the session before"


def test_a_write_from_outside_in_a_later_session(tmp_path: Path) -> None:
    """A write between two steps of a resumed session is named with the run's count of the steps."""
    training = Training()
    with training.recorder(tmp_path / "run"):
        training.go(5)
    later = copied(training, fresh=True)
    notes = Notes(later, 5)
    with later.recorder(tmp_path / "run", resume=True):
        later.go(2)
        later.model.load_state_dict(
            {name: array * 2 for name, array in later.model.state_dict().items()}
        )
        with pytest.warns(OutOfBandWrite, match="before step 7 "):
            later.go(2)
    run = mg.Run.open(tmp_path / "run")
    assert [] == wrong(run, notes.values, range(5))
    assert run.verify()


def test_a_run_whose_newest_steps_were_given_up_just_before_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last keyframe is then older than the last step: what is resumed from it is not what that
    step left.
    """
    drop, kept = DiskStore._drop, list[int]()  # noqa: SLF001

    def drop_and_look(store: DiskStore, blocks: Sequence[Block]) -> None:
        drop(store, blocks)
        store.flush()
        if (
            not store.blocks[-1].capacity and not kept
        ):  # a kill right here, before the next block is begun
            shutil.copytree(store.directory, tmp_path / "run")
            kept.append(len(store))

    monkeypatch.setattr(DiskStore, "_drop", drop_and_look)
    training, values = Training(), list[bytes]()
    with training.recorder(tmp_path / "alive", keyframe_every=3, budget=30 * ROW):
        for _ in range(60):
            training.go(1)
            values.append(training.flat.tobytes())
    assert len(kept) == 1
    run = mg.Run.open(tmp_path / "run")
    last = int(run.exact_steps[-1])
    assert last < kept[0] - 1 == run.steps[-1]
    other = Training()
    run.restore(other.model, last)
    with other.recorder(tmp_path / "run", resume=True, keyframe_every=3, budget=30 * ROW):
        other.go(3)
    later = mg.Run.open(tmp_path / "run")
    known = [step for step in later.exact_steps.tolist() if step <= run.steps[-1]]
    assert [values[step] for step in known] == [flat_value(later, step).tobytes() for step in known]
    assert run.steps[-1] not in known
    assert any(
        f"before step {run.steps[-1] + 1} the values changed" in note for note in later.notes
    )
