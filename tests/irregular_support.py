"""What has a path and is no regular file: whoever reads it may wait for ever, or never come to an
end.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

IRREGULAR = {
    "a directory": "Is a directory",
    "a FIFO": "Is a FIFO, expected a regular file",
    "a socket": "Is a socket, expected a regular file",
    "an endless device": "Is a device, expected a regular file",
    "an empty device": "Is a device, expected a regular file",
    "a link to a FIFO": "Is a FIFO, expected a regular file",
}
"""What the errors say of each."""


def irregular(what: str, directory: Path) -> Path:
    """The path of one of them; the test is skipped where the system has none."""
    path = directory / "irregular"
    if what == "a directory":
        path.mkdir()
        return path
    if what.endswith("device"):
        path = Path("/dev/zero" if what.startswith("an endless") else "/dev/null")
        if not path.exists():
            pytest.skip("this system has no such device")
        return path
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has none")
    if what == "a socket":
        try:
            os.mknod(path, stat.S_IFSOCK | 0o600)
        except OSError:
            pytest.skip("this system makes none without a server")
    else:
        os.mkfifo(path)
    if what.startswith("a link"):
        link = directory / "link"
        link.symlink_to(path)
        return link
    return path
