"""What the site is made of beside this folder: the notebooks and the pictures."""

from __future__ import annotations

import importlib.util
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


@event_priority(100)  # before the plugin that renders notebooks looks for them
def on_files(files: Files, config: Any) -> Files:
    """Add the notebooks of `examples/` with their data, and the gallery's pictures."""
    stage = Path(tempfile.mkdtemp(prefix="sirfp-opt-docs-"))
    (stage / "notebooks").symlink_to(ROOT / "examples")
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        files.append(_file(f"notebooks/{path.name}", stage, config))
    for picture in _gallery().draw(stage / "pictures"):
        files.append(_file(f"pictures/{picture}", stage, config))
    return files


def _file(path: str, source: Path, config: Any) -> File:
    return File(path, str(source), config["site_dir"], config["use_directory_urls"])


def _gallery() -> Any:
    place = Path(__file__).with_name("_gallery.py")
    spec = importlib.util.spec_from_file_location("_gallery", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
