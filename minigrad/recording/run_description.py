"""`RunDescription`: run.json, as it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, final

from minigrad import files
from minigrad.errors import RunError
from minigrad.runs.gap import Gap, joined
from minigrad.runs.run_json import checksum_of_json, read_json


@final
class RunDescription:
    """What run.json says of a run; it is replaced as a whole.

    Args:
        directory: The directory of the run.
        content: What it says before the first session.
    """

    def __init__(self, directory: Path, content: Mapping[str, Any]) -> None:
        self._directory = directory
        self._content: dict[str, Any] = {**content, "sessions": []}
        self._written: tuple[int, int, bool] | None = None

    @property
    def run_id(self) -> str:
        """The run's own random id."""
        return str(self._content["id"])

    @property
    def has_sessions(self) -> bool:
        """Whether there was any session."""
        return bool(self._content["sessions"])

    def resume(self) -> None:
        """Go on with the run that is there.

        Raises:
            RunError: It is of other parameters or settings.
        """
        there = read_json(self._directory)
        if there["version"] != self._content["version"]:
            raise RunError(
                f"the run in '{self._directory}' cannot go on: it was written by an earlier "
                f"minigrad, in version {there['version']} of the format, which is only read; "
                f"record into a new directory"
            )
        for what in ("dtype", "kinds", "parameters", "buffers", "aggregates"):
            if there[what] != self._content[what]:
                raise RunError(
                    f"the run in '{self._directory}' cannot go on: its {what} are {there[what]}, "
                    f"and now they are {self._content[what]}; record into a new directory"
                )
        self._content["sessions"] = there["sessions"]
        self._content["id"] = there["id"]

    def begin_session(self, first_step: int) -> None:
        """A session begins with this step."""
        self._content["sessions"].append({"first_step": first_step})
        self._content["complete"] = False
        self._written = None

    def end_session(self, last_step: int) -> None:
        """The session has ended with this step."""
        self._content["sessions"][-1]["last_step"] = last_step
        self._content["complete"] = True

    @property
    def is_written(self) -> bool:
        """Whether it was written since this process knows of the run."""
        return self._written is not None

    def is_current(self, gaps: Sequence[Gap], notes: Sequence[str], full: bool) -> bool:
        """Whether these gaps and notes are what was written last."""
        return self._written == (len(gaps), len(notes), full)

    def write(self, gaps: Sequence[Gap], notes: Sequence[str], full: bool) -> None:
        """Replace run.json.

        Args:
            gaps: Steps that are not kept, each with the reason.
            notes: What else happened, in sentences.
            full: Whether no more tensors are kept.

        Raises:
            OSError: The system refuses.
        """
        content = {**self._content, "gaps": joined(gaps), "full": full, "notes": notes}
        content["crc32"] = checksum_of_json(content)
        text = json.dumps(content, indent=1, allow_nan=False)
        files.replace(self._directory / "run.json", text.encode())
        self._written = len(gaps), len(notes), full
