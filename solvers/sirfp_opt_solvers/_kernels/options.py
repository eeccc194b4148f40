"""How kernels are compiled: those that Python calls, and the parts of which they are.

Kernels cached on disk do not notice a change in a part that another file holds: change
theirs with it.
"""

__all__ = ["INNER", "LOOSE", "OUTER"]

OUTER = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
}
"""Options of kernels that Python calls."""

INNER = {
    "nogil": True,
    "error_model": "numpy",
    "no_cfunc_wrapper": True,
    "no_cpython_wrapper": True,
}
"""Options of parts that only kernels call: no way in from Python is compiled.

Called from Python such a part brings the process down; its `py_func` does not.
"""

LOOSE = {"fastmath": {"contract", "nsz", "reassoc"}}
"""More of them where sums may be taken in any order, so several terms at a time.

Numbers that are none and infinities stay what they are.
"""
