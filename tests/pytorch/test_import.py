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


def test_torch_pruning_is_needed_for_its_importance_only() -> None:
    """Without it the adapter imports, and couples; the importance says what lacks."""
    code = (
        "import sys; sys.modules['torch_pruning'] = None\n"
        "import torch; from torch import nn\n"
        "import sirfp_opt.pytorch as adapter\n"
        "net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1))\n"
        "print(len(adapter.couple(net, torch.rand(1, 3, 5, 5)).units))\n"
        "try:\n"
        "    adapter.RedundancyImportance\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("1\n")
    assert "must find torch-pruning" in done.stdout
