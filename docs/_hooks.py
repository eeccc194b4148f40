"""What the site is made of beside this folder: notebooks, pictures, formulas."""

from __future__ import annotations

import html
import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
FORMULA = re.compile(
    r'<(span|div) class="arithmatex">\\(?P<open>[(\[])(?P<page>.*?)\\[)\]]</\1>'
    r"|\$\$(?P<block>.+?)\$\$|\$(?P<inline>[^$\n]+?)\$",
    re.DOTALL,
)
VERBATIM = re.compile(r"(<(?P<tag>pre|code|script|style)\b.*?</(?P=tag)>)", re.DOTALL)


@event_priority(100)  # before the plugin that renders notebooks looks for them
def on_files(files: Files, config: Any) -> Files:
    """Add notebooks with their data, changelog, licence, and the gallery's pictures."""
    stage = Path(tempfile.mkdtemp(prefix="sirfp-opt-docs-"))
    (stage / "notebooks").symlink_to(ROOT / "examples")
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        files.append(_file(f"notebooks/{path.name}", stage, config))
    # Files that live at the root, where everybody looks for them.
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    licence = (ROOT / "LICENSE").read_text("utf-8")
    (stage / "changelog.md").write_text(changes, "utf-8")
    (stage / "licence.md").write_text(f"# Licence\n\n```text\n{licence}```\n", "utf-8")
    files.append(_file("changelog.md", stage, config))
    files.append(_file("licence.md", stage, config))
    for picture in _gallery().draw(stage / "pictures"):
        files.append(_file(f"pictures/{picture}", stage, config))
    return files


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Turn formulas into MathML, which browsers draw without any script."""
    notebook = page.file.src_uri.endswith(".ipynb")
    # Each match of the split gives two parts: itself, and its tag, which goes.
    parts = VERBATIM.split(content)
    parts[2::3] = [""] * len(parts[2::3])
    parts[::3] = [FORMULA.sub(_as_mathml(notebook), part) for part in parts[::3]]
    return "".join(parts)


def _as_mathml(notebook: bool) -> Any:
    def replace(match: re.Match[str]) -> str:
        page = match["page"]
        if page is None and not notebook:
            return match[0]
        block = match["block"] is not None or match["open"] == "["
        formula = page or match["block"] or match["inline"]
        display = "block" if block else "inline"
        made: str = convert(html.unescape(formula), display=display)
        return made

    return replace


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
