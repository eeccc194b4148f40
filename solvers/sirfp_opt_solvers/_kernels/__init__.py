"""Compiled kernels (numba); imported by a solver when it runs, never before.

numba is imported here, whole, before any module of ours asks for a part of it: threads
that come for it at the same time would else meet it half imported.
"""

import numba
import numba.core.event

__all__ = ["numba"]
