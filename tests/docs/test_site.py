"""What the site is made of beside its pages: the font of formulas, what is copied."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FONT = DOCS / "assets" / "fonts" / "docs-math.woff2"


@pytest.fixture(scope="module")
def hooks() -> Any:
    """Import the hooks as MkDocs does: a file beside the pages."""
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location("_hooks", DOCS / "_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_font_has_every_sign_of_every_formula() -> None:
    """No formula falls back on a font that a reader may not have."""
    tools = pytest.importorskip("fontTools.ttLib")
    pytest.importorskip("brotli")  # what woff2 is packed with
    converter = pytest.importorskip("latex2mathml.converter")
    known = set(tools.TTFont(FONT).getBestCmap())
    pages = [*DOCS.rglob("*.md")]
    pages += [p for p in (ROOT / "sirfp_opt").rglob("*.py") if r"\(" in p.read_text()]
    formulas = [
        formula
        for page in pages
        for formula in re.findall(
            r"\\\((.+?)\\\)|\\\[(.+?)\\\]", page.read_text("utf-8"), re.DOTALL
        )
    ]
    signs: set[str] = set()
    for formula in formulas:
        made = converter.convert("".join(formula))
        signs |= set(html.unescape(re.sub(r"<[^>]*>", "", made))) - {"\n"}
    assert len(signs) > 20
    assert {ord(sign) for sign in signs} <= known
    # A single letter is drawn in italics, from the letters for mathematics.
    assert {0x1D44E + i for i in range(26) if i != 7} | {0x210E} <= known


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("<b>&gt;&gt;&gt; </b>x = 1\n>>> x &lt; 2\nTrue\n\n", "x = 1\nx < 2"),
        (">>> for i in x:\n...     i\n...\n>>> i\n3\n", "for i in x:\n    i\n\ni"),
        (
            "$ make demo  # now\n$ a \\\n   --b\nsaid\n",
            "make demo  # now\na \\\n   --b",
        ),
    ],
)
def test_what_is_copied_is_code_only(hooks: Any, text: str, copied: str) -> None:
    """Neither prompts nor outputs; lines that go on are kept."""
    lead = '<div class="highlight"><pre><span></span><code><span class="gp"></span>'
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    made = hooks.on_page_content(f"{lead}{text}</code></pre></div>", page)
    found = re.search(r'data-copy="([^"]*)"', made)
    assert found is not None
    assert html.unescape(found[1]) == copied
    plain = '<div class="highlight"><pre><span></span><code>x = 1</code></pre></div>'
    assert hooks.on_page_content(plain, page) == plain


def test_what_a_reader_looks_for_is_in_the_navigation() -> None:
    """Install, questions, cite, changelog and licence are one click away."""
    nav = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    for page in ("install", "quickstart", "faq", "cite", "changelog", "licence"):
        assert f"{page}.md" in nav
