"""A disk that is full: one clear error, the checkpoint before is untouched, nothing is left over,
training can go on.
"""

from __future__ import annotations

import errno
import gc
import io
import logging
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkpoint_support import EVERYTHING, Plan, Training
from child_support import surroundings

import minigrad as mg
from minigrad.errors import DataFileError

PLAN = Plan(plateau=True)


class Refusing:
    """The system refuses the n-th thing that it is asked for while a checkpoint is written, and all
    after it.

    Args:
        monkeypatch: Puts it into the place of the system.
        number: The number of the error.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int = errno.ENOSPC) -> None:
        self.left = 10**9
        self.number = number
        refusing, real_open, real_sync, real_replace = self, io.open, os.fsync, Path.replace

        class Full(io.FileIO):
            def write(self, data: Any, /) -> int:
                if (
                    refusing.left == 0 and len(data) > 1
                ):  # a full disk takes what fits, and refuses the rest
                    return super().write(bytes(data)[: len(data) // 2])
                refusing.ask()
                return super().write(data)

        def opened(file: Any, mode: str = "r", *rest: Any, **more: Any) -> Any:
            if str(file).endswith(".part") and set(mode) & set("wa+"):
                refusing.ask()
                return io.BufferedRandom(Full(file, mode.replace("b", "")), 1024)
            return real_open(file, mode, *rest, **more)

        def sync(handle: int) -> None:
            refusing.ask()
            real_sync(handle)

        def replace(path: Path, target: Any) -> Path:
            refusing.ask()
            return real_replace(path, target)

        monkeypatch.setattr(io, "open", opened)
        monkeypatch.setattr(os, "fsync", sync)
        monkeypatch.setattr(Path, "replace", replace)

    def ask(self) -> None:
        """Refuse, if it is time."""
        self.left -= 1
        if self.left < 0:
            raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    "number", [errno.ENOSPC, errno.EIO, errno.EDQUOT] if EVERYTHING else [errno.ENOSPC]
)
@pytest.mark.parametrize("existing", [True, False] if EVERYTHING else [True])
def test_whatever_is_refused(
    existing: bool, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening, each write, half of a write, the flush, the new name: the error says why, and the
    old file is as it was.
    """
    path = tmp_path / "x.npz"
    training = Training(PLAN).made(3)
    if existing:
        mg.save(path, **Training(PLAN, seed=5).parts)
    content = path.read_bytes() if existing else None
    refused = 0
    while True:
        with monkeypatch.context() as patch:
            Refusing(patch, number).left = refused
            before = training.bits
            try:
                mg.save(path, **training.parts)
                break
            except DataFileError as error:
                told = str(error)
        assert (
            f"the checkpoint '{path}' cannot be written: {os.strerror(number)}; give a file in a "
            f"directory" in told
        )
        assert before == training.bits
        assert ([path] if existing else []) == list(tmp_path.iterdir())
        assert not existing or content == path.read_bytes()
        refused += 1 if EVERYTHING or refused < 3 or refused > 22 else 4
    # Opened twice; ten and more pieces of a kilobyte; the flush, the new name. The flush of the
    # directory is a bonus.
    assert refused > 15
    assert [path] == list(tmp_path.iterdir())
    loaded = Training(PLAN, seed=9)
    mg.load(path, **loaded.parts)
    assert training.bits == loaded.bits
    gc.collect()  # a file that was not closed would be a warning, which is an error


# Run with -B: a module that Python cannot write whole into its cache would be broken for whoever
# comes next.
LIMITED = """
import resource, sys, zlib
from pathlib import Path
from checkpoint_support import Plan, Training
import minigrad as mg
path, sizes = Path(sys.argv[1]), [int(size) for size in sys.argv[2:]]
for size in sizes:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        mg.save(path, **Training(Plan(plateau=True)).made(3).parts)
        told = "saved"
    except mg.errors.DataFileError as error:
        told = str(error).partition(";")[0]
    print(zlib.crc32(path.read_bytes()), told)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the limit is the system's own")
def test_a_limit_of_the_system(tmp_path: Path) -> None:
    """A file that may not grow as large as it must, by the system's own limit: the same error, and
    the old file stays.
    """
    path = tmp_path / "x.npz"
    mg.save(path, **Training(PLAN).made(3).parts)
    new = path.read_bytes()
    mg.save(path, **Training(PLAN, seed=5).parts)
    old = path.read_bytes()
    limits = [0, 1, 4096, len(new) - 100, len(new) - 1, len(new)]
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", LIMITED, str(path), *map(str, limits)],
        env=surroundings(Path(__file__)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    refused = (
        f"{zlib.crc32(old)} the checkpoint '{path}' cannot be written: {os.strerror(errno.EFBIG)}"
    )
    assert [*[refused] * 5, f"{zlib.crc32(new)} saved"] == done.stdout.splitlines()
    assert "" == done.stderr
    assert new == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


@pytest.fixture
def warnings_of(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What minigrad logs as warnings."""
    with caplog.at_level(logging.WARNING, "minigrad"):
        yield caplog


def test_a_training_whose_disk_fills_up_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warnings_of: pytest.LogCaptureFixture
) -> None:
    """`Checkpoint` warns each time, keeps the last that it could write, and writes again when there
    is room.
    """
    path = tmp_path / "x.npz"

    class FillsUp(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            disk.left = 0 if 5 <= event.step < 11 else 10**9
            if event.step == 11:
                kept.append(path.read_bytes())

    def fit(training: Training, *hooks: mg.Hook, resume_from: Path | None = None) -> mg.History:
        parts: dict[str, Any] = {
            "epochs": 3,
            "progress": False,
            "resume_from": resume_from,
            "hooks": hooks,
        }
        return mg.fit(training.model, training.loss, training.optimizer, training.data, **parts)

    kept: list[bytes] = []
    straight, training = Training(), Training()
    figures = fit(straight)
    with monkeypatch.context() as patch:
        disk = Refusing(patch)
        history = fit(training, FillsUp(), mg.Checkpoint(path, every=2))
    assert ["cannot be written: " + os.strerror(errno.ENOSPC)] * 3 == [
        record.message.partition("' ")[2].partition(";")[0] for record in warnings_of.records
    ]
    assert all(record.message.endswith("; the training goes on") for record in warnings_of.records)
    assert dict(figures) == dict(history)
    assert {} == history.under_way
    assert straight.bits == training.bits
    assert [path] == list(tmp_path.iterdir())
    path.write_bytes(kept[0])  # that of the fourth step, which was the last while there was room
    resumed = Training(seed=9)
    assert dict(figures) == dict(fit(resumed, resume_from=path))
    assert straight.bits == resumed.bits


def test_what_a_failed_save_leaves_of_a_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A history whose last checkpoint in mid-epoch could not be written tells nothing of an epoch
    that is under way.
    """
    training = Training()

    class Stops(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            disk.left = 0
            if event.step == 2:
                event.stop("enough")

    with monkeypatch.context() as patch:
        disk = Refusing(patch)
        history = mg.fit(
            training.model,
            training.loss,
            training.optimizer,
            training.data,
            epochs=1,
            hooks=[Stops(), mg.Checkpoint(tmp_path / "x.npz", every=2)],
            progress=False,
        )
    assert {} == history.under_way
    assert [] == list(tmp_path.iterdir())
