"""The study's tests need what it needs."""

from importlib.util import find_spec

collect_ignore_glob = [
    "test_*.py"
    for name in ("torch", "sklearn", "matplotlib", "joblib", "tabulate")
    if find_spec(name) is None
]
