"""The command line: ``sirfp-opt --help``.

Every command prints for people, or with ``--json`` for programs, and ends with an
exit code that a script can rely on (see `ExitCode`).
"""

from sirfp_opt.cli.app import app, main
from sirfp_opt.cli.common import ExitCode

__all__ = ["ExitCode", "app", "main"]
