"""`RunLock`: one process at a time writes a run."""

from __future__ import annotations

import json
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import final

from minigrad import files
from minigrad.errors import RunError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@final
class RunLock:
    """The file `lock` of a run: locked as long as its writer lives, and it says who that is.

    The system ends the lock of a process that has died, and the next one takes the run over. But
    not every file system shows locks to other hosts, or has them at all. There only what the file
    says is known, so a run that was not stopped is not taken over.

    Args:
        directory: The directory of the run.

    Raises:
        OSError: The system refuses.
        RunError: Another recorder writes this run, or one on another host may.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._lock = files.lock(self._path)
        try:
            try:
                acquired, shown = self._lock.acquire(), True
            except OSError:  # a file system without locks
                acquired, shown = True, False
            owner, own = self._path.read_text("utf-8", "replace"), _who_we_are()
            if not acquired:
                raise RunError(
                    f"{_recorded_by(directory, owner)} now; stop that recorder first, or record "
                    f"into a new directory"
                )
            if owner and not (shown and _on_this_host(owner, own)):
                raise RunError(
                    f"{_recorded_by(directory, owner)} and was not stopped; whether that recorder "
                    f"still runs is not known here: if it does not, remove '{self._path}'"
                )
            self._path.write_text(json.dumps(own), "utf-8")
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let the next recorder have the run; again without effect."""
        if not self._lock.closed:
            with suppress(OSError):
                self._path.write_bytes(b"")
            self._lock.release()


def _who_we_are() -> dict[str, str]:
    """This process. Containers have names and process numbers of their own, but one boot id."""
    boot = ""
    with suppress(OSError):
        boot = _BOOT_ID.read_text("utf-8").strip()
    return {"process": str(os.getpid()), "host": platform.node(), "boot": boot}


def _parsed(owner: str) -> dict[str, str]:
    """Who has written the file, as far as it says so."""
    with suppress(ValueError, RecursionError):
        said = json.loads(owner)
        if isinstance(said, dict):
            return {name: str(said.get(name, "")) for name in ("process", "host", "boot")}
    return {}


def _on_this_host(owner: str, own: dict[str, str]) -> bool:
    said = _parsed(owner)
    return any(said.get(name) and said[name] == own[name] for name in ("boot", "host"))


def _recorded_by(directory: Path, owner: str) -> str:
    said = _parsed(owner)
    who = f"process {said['process']} on host {said['host']}" if said else "another process"
    return f"the run in '{directory}' is recorded by {who}"
