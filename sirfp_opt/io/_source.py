"""A file's content, read once: a pipe cannot be read a second time."""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

from sirfp_opt._validate import as_path
from sirfp_opt.errors import InvalidProblemError

if TYPE_CHECKING:
    import os

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """What a file holds, and what to call it.

    Attributes
    ----------
    name : str
        For messages.
    stem : str
        For the graph, where the file does not name it.
    data : bytes
        Unpacked, where the file was packed by gzip or is a zip of one file.
    suffix : str
        In lower case, without that of the packing.
    """

    name: str
    stem: str
    data: bytes
    suffix: str = ""

    @classmethod
    def of(cls, path: str | os.PathLike[str] | Source) -> Source:
        """Read a file, a pipe or a device to its end.

        Raises
        ------
        InvalidProblemError
            If `path` is no path.
        OSError
            If there is no such file.
        """
        if isinstance(path, Source):
            return path
        place = as_path(path)
        data, inner = place.read_bytes(), PurePath(place.name)
        if data[:2] == b"\x1f\x8b":
            data = _gunzipped(str(place), data)
            inner = PurePath(inner.stem) if inner.suffix == ".gz" else inner
        elif data[:2] == b"PK":
            data, inner = _unzipped(str(place), data, inner)
        return cls(str(place), inner.stem, data, inner.suffix.lower())

    def lines(self) -> list[str]:
        """Return the lines of a text, without a byte-order mark.

        Raises
        ------
        InvalidProblemError
            If it is no text.
        """
        try:
            text = self.data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidProblemError(
                f"`path` must name a text file, got {self.name}, whose byte "
                f"{error.start} is none of UTF-8. Unpack it, save it as UTF-8, or give "
                "it the suffix of its format."
            ) from None
        # Not splitlines: it knows ends of lines that no editor counts.
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        return lines if lines[-1] else lines[:-1]


def _gunzipped(name: str, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidProblemError(
            f"`path` must name a whole gzip file, got {name}: {error}. Pack it anew."
        ) from None


def _unzipped(name: str, data: bytes, place: PurePath) -> tuple[bytes, PurePath]:
    """Return the one file of a zip; a NumPy archive, which is one too, as it is."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [f for f in archive.namelist() if not f.endswith("/")]
            if place.suffix == ".npz" or all(f.endswith(".npy") for f in files):
                return data, place
            if len(files) == 1:
                return archive.read(files[0]), PurePath(PurePath(files[0]).name)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError):
        return data, place  # said by the reader of archives
    raise InvalidProblemError(
        f"`path` must name a zip of one file, got {name} with {len(files)}. Unpack it "
        "and name the one that is meant."
    )
