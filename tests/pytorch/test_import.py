"""What importing the adapter needs, and says where it is missing."""

from __future__ import annotations

import subprocess
import sys


def test_without_torch_the_error_says_what_to_install() -> None:
    """A missing torch gives the line to type; the core still imports."""
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import sirfp_opt\n"
        "try:\n"
        "    import sirfp_opt.pytorch\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "pip install 'sirfp-opt[torch]'" in done.stdout


def test_the_core_does_not_import_torch() -> None:
    """`import sirfp_opt` leaves torch and torch-pruning alone."""
    code = "import sys, sirfp_opt; print({'torch', 'torch_pruning'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
