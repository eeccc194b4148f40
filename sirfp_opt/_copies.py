"""Copies of values that hold arrays: read-only, as the values are."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from sirfp_opt._validate import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ReadOnly"]


class ReadOnly:
    """A frozen dataclass with arrays, also once it is pickled or copied deeply.

    NumPy makes such copies writable. What was worked out from the fields and kept
    stays behind.
    """

    def __getstate__(self) -> dict[str, Any]:
        """Return the fields."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Take fields over, arrays read-only."""
        for name, value in state.items():
            if isinstance(value, np.ndarray):
                frozen(value)
            object.__setattr__(self, name, value)
