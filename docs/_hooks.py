"""What the site is made of beside this folder: notebooks, pictures, formulas."""

from __future__ import annotations

import html
import importlib.util
import re
import tempfile
from functools import cache
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
SESSION = re.compile(
    r'<div class="highlight">(?P<text><pre><span></span><code>'
    r'<span class="gp">.*?</code></pre>)',
    re.DOTALL,
)
PROMPTS = (">>>", "...", "$")
VERBATIM = re.compile(r"(<(?P<tag>pre|code|script|style)\b.*?</(?P=tag)>)", re.DOTALL)


def on_config(config: Any) -> Any:
    """Put each module's page into the navigation."""
    config.nav = _beside("_reference").navigation(config.nav)
    return config


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
    for path, text in _beside("_reference").pages():
        files.append(File.generated(config, path, content=text))
    for picture in _beside("_gallery").draw(stage / "pictures"):
        files.append(_file(f"pictures/{picture}", stage, config))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn a part of the reference into a table of its modules."""
    if page.file.src_uri.startswith("api/"):
        made: str = _beside("_reference").overview(markdown)
        return made
    return markdown


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Turn formulas into MathML, and let the copy button take code only."""
    notebook = page.file.src_uri.endswith(".ipynb")
    # Each match of the split gives two parts: itself, and its tag, which goes.
    parts = VERBATIM.split(content)
    parts[2::3] = [""] * len(parts[2::3])
    parts[::3] = [FORMULA.sub(_as_mathml(notebook), part) for part in parts[::3]]
    return SESSION.sub(_with_code, "".join(parts))


def _with_code(match: re.Match[str]) -> str:
    """Say what is to be copied from a session: no prompts, no outputs."""
    lines = html.unescape(re.sub(r"<[^>]*>", "", match["text"])).splitlines()
    code: list[str] = []
    for line in lines:
        prompt, _, rest = line.partition(" ")
        if prompt in PROMPTS:
            code.append(rest)
        elif code and code[-1].endswith("\\") and prompt == "":
            code.append(line)
    text = html.escape("\n".join(code)).replace("\n", "&#10;")
    return f'<div class="highlight" data-copy="{text}">{match["text"]}'


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


@cache
def _beside(name: str) -> Any:
    """Import a module of this folder."""
    place = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
