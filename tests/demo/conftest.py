"""The demo's tests need its extra."""

from importlib.util import find_spec

collect_ignore_glob = [
    "test_*.py"
    for name in ("torch", "sklearn", "matplotlib")
    if find_spec(name) is None
]
