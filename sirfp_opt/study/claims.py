"""Claims: who is making which run, where several studies share a folder."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

__all__ = ["Claims"]

# A sign of life every so many seconds; without any for so long, its owner is gone.
_PULSE, _SILENCE = 2.0, 30.0


class Claims:
    """Runs under way, as files in a folder, so that no other study makes them, too.

    A claim is a file named after the run that holds its owner's name, created only if
    it is not there. While a study lives, it touches a file of its own; the claims of
    one that has not for 30 s, or whose process is gone, are taken over.

    Parameters
    ----------
    folder : Path
        Made on entering, and removed by whoever leaves last.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.owner = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._mine: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    @property
    def _sign(self) -> Path:
        return self.folder / f"{self.owner}.alive"

    def __enter__(self) -> Claims:
        """Make the folder and show that this study is alive."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._sign.touch()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give back what is still claimed."""
        self._ended.set()
        self._thread.join()
        for key in list(self._mine):
            self.release(key)
        self._sign.unlink(missing_ok=True)
        try:
            self.folder.rmdir()
        except OSError:  # another study is still there
            return

    def _live(self) -> None:
        while not self._ended.wait(_PULSE):
            try:
                self._sign.touch()
            except OSError:  # the folder was deleted: nobody is left to be told
                return

    def take(self, key: str) -> bool:
        """Claim a run; return whether it is now this study's to make."""
        if self._create(key):
            return True
        path = self.folder / key
        try:
            holder = path.read_text(encoding="utf-8")
            if not self._is_gone(holder, path):
                return False
            # Whoever moves it first has it; the others find it gone.
            moved = path.rename(self.folder / f"{key}.{self.owner}")
            moved.unlink()
        except FileNotFoundError:
            pass
        return self._create(key)

    def _create(self, key: str) -> bool:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        try:
            handle = os.open(self.folder / key, flags, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(self.owner)
        self._mine.add(key)
        return True

    def _is_gone(self, holder: str, path: Path) -> bool:
        host, _, rest = holder.rpartition("-")[0].rpartition("-")
        if host == socket.gethostname() and rest.isdigit() and not _runs(int(rest)):
            return True
        self._sign.touch()  # the file system's own clock, not ours
        now = self._sign.stat().st_mtime
        sign = self.folder / f"{holder}.alive"
        seen = sign if holder and sign.exists() else path
        return now - seen.stat().st_mtime > _SILENCE

    def release(self, key: str) -> None:
        """Give a run back, made or not."""
        self._mine.discard(key)
        (self.folder / key).unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Tell whether a process of this machine is alive; if in doubt, it is."""
    if os.name != "posix" or process == os.getpid():
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
