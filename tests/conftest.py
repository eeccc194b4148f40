"""Which tests `make quick` runs, and that a test run hears Ctrl-C wherever it runs."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

QUICK = (
    "allocation",
    "cli/test_program.py",
    "core",
    "io",
    "pytorch/test_refused_first.py",
    "pytorch/test_settings.py",
    "solvers/test_greedy.py",
    "test_layout.py",
    "test_network_curves.py",
    "test_network_latency.py",
    "test_network_soundness.py",
    "test_refit_curves.py",
)
"""What is broken most often, in under 90 s on two cores: no site, notebook or wheel."""

NOT_QUICK = (
    "core/test_contributing.py",
    "core/test_extremes.py",
    "core/test_interrupts.py",
    "io/test_hostile_files.py",
)
"""What compiles much, starts programs, or tries a thousand files."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests."""
    here = Path(__file__).parent
    for item in items:
        path = item.path
        if path.is_relative_to(here):
            place = path.relative_to(here).as_posix()
            if place in NOT_QUICK:
                continue
            if place.startswith(tuple(f"{q}/" for q in QUICK)) or place in QUICK:
                item.add_marker(pytest.mark.quick)


def pytest_configure() -> None:
    """Hear interrupts, which a program started in the background ignores from birth.

    Tests send them to this process and to its children.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
