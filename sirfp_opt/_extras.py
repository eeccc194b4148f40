"""Whether the packages that only a part of this one needs are there."""

from __future__ import annotations

import importlib.util

from sirfp_opt.errors import MissingExtraError

__all__ = ["require_extra"]


def require_extra(extra: str, *packages: str) -> None:
    """Raise unless the packages behind an extra are installed; import none of them.

    Parameters
    ----------
    extra : str
        The distribution's extra that brings them.
    *packages : str
        Import names.

    Raises
    ------
    MissingExtraError
        Names what is missing and the pip line.
    """
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    if lacking:
        raise MissingExtraError(
            f"{', '.join(lacking)} must be installed for this, got none. "
            f"Run: pip install 'sirfp-opt[{extra}]'."
        )
