"""A file's content, read once: a pipe cannot be read a second time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    """

    name: str
    stem: str
    data: bytes

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
        try:
            place = Path(path)
        except TypeError:
            raise InvalidProblemError(
                f"`path` must be a path, got {type(path).__name__}. "
                "Pass for instance 'layers.npz'."
            ) from None
        try:
            return cls(str(path), place.stem, place.read_bytes())
        except ValueError as error:  # a null byte in the name
            raise InvalidProblemError(
                f"`path` must be a path, got {path!r}: {error}. Correct the name."
            ) from None

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
