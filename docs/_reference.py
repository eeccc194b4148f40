"""The reference: one page a module, and a table of them for each part."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SOURCES = (ROOT, ROOT / "solvers")
BLOCK = re.compile(r"^::: (?P<name>[\w.]+)\n(?P<options>(?: +.*\n)*)", re.MULTILINE)
PARTS = sorted((ROOT / "docs" / "api").glob("*.md"))


def pages() -> Iterator[tuple[str, str]]:
    """Give each module's page, as its path and its Markdown."""
    for part in PARTS:
        for name, options in modules_of(part.read_text("utf-8")):
            yield _path(name), _page(name, options)


def overview(markdown: str) -> str:
    """Return a part's page, with a table in place of its modules."""
    rows = [
        f"| [`{_short(name)}`](../{_path(name)}) | {_summary(name)} |"
        for name, _ in modules_of(markdown)
    ]
    head = BLOCK.sub("", markdown).rstrip()
    return "\n".join([head, "", "| module | what it is |", "|---|---|", *rows, ""])


def navigation(nav: list[Any]) -> list[Any]:
    """Return the navigation, with each part's modules under it."""

    def grown(entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        ((title, below),) = entry.items()
        if isinstance(below, list):
            return {title: [grown(each) for each in below]}
        source = ROOT / "docs" / below
        if source not in PARTS:
            return entry
        found = modules_of(source.read_text("utf-8"))
        return {title: [below, *({_short(n): _path(n)} for n, _ in found)]}

    return [grown(entry) for entry in nav]


def modules_of(markdown: str) -> list[tuple[str, str]]:
    """Return the modules that a part names, and their submodules where it says so.

    Of a package's submodules those count that have something which it offers.
    """
    found: dict[str, str] = {}  # what stands alone comes first, in the page's order
    for block in BLOCK.finditer(markdown):
        name, options = block["name"], block["options"]
        if "show_submodules: true" in options:
            options = re.sub(r" +show_submodules: true\n", "", options)
            options = "" if options.strip() == "options:" else options
            offered = set(_all(name))
            for module in [name, *_submodules(name)]:
                if _own(module) & (offered or _own(module)):
                    found.setdefault(module, options)
        else:
            found.setdefault(name, options)
    return list(found.items())


def _page(name: str, options: str) -> str:
    lines = [f"# {_short(name)}", "", f"`{name}`", ""]
    ways = _imports(name)
    if ways:
        lines += ["```python", *ways, "```", ""]
    options = options or "    options:\n"
    options += "      show_root_heading: false\n      heading_level: 2\n"
    return "\n".join([*lines, f"::: {name}", options])


def _imports(name: str) -> list[str]:
    """Return the shortest import of each public name of a module."""
    homes: dict[str, list[str]] = {}
    for public in _all(name):
        package = name
        while "." in package:
            above = package.rpartition(".")[0]
            if not _source(above) or public not in _all(above):
                break
            package = above
        homes.setdefault(package, []).append(public)
    return [f"from {home} import {', '.join(n)}" for home, n in homes.items()]


def _submodules(name: str) -> Iterator[str]:
    source = _source(name)
    if source is None or source.name != "__init__.py":
        return
    for path in sorted(source.parent.iterdir()):
        if path.name == "__init__.py" or path.name.startswith("_"):
            continue
        if path.suffix == ".py" or (path / "__init__.py").exists():
            below = f"{name}.{path.stem}"
            yield below
            yield from _submodules(below)


def _own(name: str) -> set[str]:
    """Return the public names that are made in a module: a package may only pass on."""
    source = _source(name)
    made: set[str] = set()
    for node in _tree(source).body if source else ():
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            made.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            made |= {target.id for target in targets if isinstance(target, ast.Name)}
    return made & set(_all(name))


def _all(name: str) -> list[str]:
    """Return what a module calls public."""
    source = _source(name)
    if source is None:
        return []
    for node in _tree(source).body:
        if isinstance(node, ast.Assign) and any(
            getattr(target, "id", None) == "__all__" for target in node.targets
        ):
            return [str(each) for each in ast.literal_eval(node.value)]
    return []


def _summary(name: str) -> str:
    source = _source(name)
    text = source and ast.get_docstring(_tree(source))
    return (text or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


def _source(name: str) -> Path | None:
    for root in SOURCES:
        base = root / name.replace(".", "/")
        for path in (base / "__init__.py", base.with_suffix(".py")):
            if path.exists():
                return path
    return None


@cache
def _tree(source: Path) -> ast.Module:
    return ast.parse(source.read_text("utf-8"))


def _path(name: str) -> str:
    return f"reference/{name}.md"


def _short(name: str) -> str:
    """Return a module's name without the package's."""
    return name.partition(".")[2] or name
