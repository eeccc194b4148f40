"""ResultStore: a folder to which every finished run is added at once."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.study.record import RunRecord

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ResultStore"]

logger = logging.getLogger(__name__)


class ResultStore:
    """Finished runs as lines of JSON in ``folder/runs.jsonl``.

    A line is written whole and forced to the disk before the next run is waited for.
    A line that a crash has cut short is ignored, and its run is done again.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.

    Raises
    ------
    InvalidProblemError
        If `folder` is a file.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise InvalidProblemError(
                f"`results` must be a folder, got the file {folder}. "
                "Name a folder; it is made if it is not there."
            ) from None
        self.path = self.folder / "runs.jsonl"

    def __iter__(self) -> Iterator[RunRecord]:
        """Yield the stored runs, oldest first."""
        if not self.path.exists():
            return
        with open(self.path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    yield RunRecord.from_dict(json.loads(line))
                except (ValueError, AttributeError) as error:
                    logger.warning("%s:%d is no run: %s", self.path, number, error)

    def add(self, record: RunRecord) -> None:
        """Append one run; when this returns, it is on the disk."""
        line = json.dumps(record.to_dict(), separators=(",", ":")).encode() + b"\n"
        # O_APPEND and a single write keep two studies in one folder from mixing lines.
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            end = os.lseek(handle, 0, os.SEEK_END)
            if end:
                os.lseek(handle, end - 1, os.SEEK_SET)
                if os.read(handle, 1) != b"\n":  # a crash has cut the last line short
                    line = b"\n" + line
            os.write(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
