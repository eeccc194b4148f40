"""A file's content, read once: a pipe cannot be read a second time."""

from __future__ import annotations

from dataclasses import dataclass
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
        place = as_path(path)
        return cls(str(place), place.stem, place.read_bytes())

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
