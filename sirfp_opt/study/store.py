"""ResultStore: a folder to which every finished run is added at once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirfp_opt.errors import InvalidProblemError
from sirfp_opt.study.claims import Claims
from sirfp_opt.study.record import RunRecord
from sirfp_opt.study.verification import fault_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sirfp_opt.study.problems import Instance

__all__ = ["ResultStore"]

logger = logging.getLogger(__name__)


class ResultStore:
    """Finished runs as lines of JSON in ``folder/runs.jsonl``.

    A line is written whole and forced to the disk before the next run is waited for.
    A line that a crash has cut short is ignored, and its run is done again. Each line
    ends with a digest of what stands before it.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    instances : mapping of str to Instance, optional
        Problems by their fingerprint. Rows about them are checked and priced anew.

    Raises
    ------
    InvalidProblemError
        If `folder` is a file.
    """

    def __init__(
        self, folder: str | Path, instances: Mapping[str, Instance] | None = None
    ) -> None:
        try:
            self.folder = Path(folder)
            self.folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, TypeError, ValueError):
            raise InvalidProblemError(
                f"`results` must be a folder, got {folder!r}. "
                "Name a folder; it is made if it is not there."
            ) from None
        self.path = self.folder / "runs.jsonl"
        self.claims = Claims(self.folder / "claims")
        self.instances = {} if instances is None else instances
        self._read = 0  # bytes
        self._lines = 0

    def __iter__(self) -> Iterator[RunRecord]:
        """Yield the stored runs, oldest first; raise at one that is not sound."""
        self._read = self._lines = 0
        return self.new()

    def new(self) -> Iterator[RunRecord]:
        """Yield the runs that have been stored since the last look.

        Raises
        ------
        InvalidProblemError
            At a row that is not what was written, or not what the core says of its
            set; file and line are named.
        """
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):  # still being written, or cut short
                    return
                self._read += len(line)
                self._lines += 1
                record = self._parse(line)
                if record is not None:
                    yield record

    def _parse(self, line: bytes) -> RunRecord | None:
        try:
            data = json.loads(line)
        except (ValueError, RecursionError) as error:
            logger.warning("%s:%d is no run: %s", self.path, self._lines, error)
            return None
        try:
            if isinstance(data, dict) and "digest" in data:
                stated = data.pop("digest")
                if stated != _digest(_dumped(data)):
                    raise InvalidProblemError("it was changed after it was written.")
            record = RunRecord.from_dict(data)
        except InvalidProblemError as error:
            raise self._refused(str(error)) from None
        fault = fault_of(record, self.instances.get(record.problem))
        if fault is not None:
            raise self._refused(f"{fault}.")
        return record

    def _refused(self, why: str) -> InvalidProblemError:
        return InvalidProblemError(
            f"`results` must hold runs as they were made, got {self.path}, line "
            f"{self._lines}: {why} Delete the line, and the run is made again."
        )

    def add(self, record: RunRecord) -> None:
        """Append one run; when this returns, it is on the disk."""
        text = _dumped(record.to_dict())
        line = f'{text[:-1]},"digest":"{_digest(text)}"}}\n'.encode()
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


def _dumped(data: Mapping[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
