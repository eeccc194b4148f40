"""The house: who may import whom, no circles, and former paths that say the new one."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import sys
from functools import cache
from pathlib import Path

import pytest

import sirfp_opt
from sirfp_opt._moved import MOVED

ROOT = Path(__file__).parents[1]
SOURCES = {
    "sirfp_opt": ROOT / "sirfp_opt",
    "sirfp_opt_solvers": ROOT / "solvers" / "sirfp_opt_solvers",
}
PLACES = ("network", "io", "plotting", "explorer", "study", "pytorch", "cli", "demo")


@cache
def modules() -> dict[str, Path]:
    """Return every module of both packages, by name."""
    found = {}
    for package, folder in SOURCES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = (package, *path.relative_to(folder).with_suffix("").parts)
            name = ".".join(parts)
            found[name.removesuffix(".__init__")] = path
    return found


def place_of(module: str) -> str:
    """Return the row of the table that a module belongs to."""
    if module.startswith("sirfp_opt_solvers"):
        return "solvers"
    part = module.split(".")[1:2]
    return part[0] if part and part[0] in PLACES else "core"


@cache
def imports(*, at_once: bool) -> dict[str, set[str]]:
    """Return the graph of imports among the modules.

    Parameters
    ----------
    at_once : bool
        Only those that run when the module is imported: not those of type checkers,
        nor those inside of functions.
    """
    known = modules()
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        graph[name] = set()
        for node in _nodes(ast.parse(path.read_text(encoding="utf-8")), at_once):
            for target in _targets(node, name, path):
                while target and target not in known:
                    target = target.rpartition(".")[0]
                if target and target != name:
                    graph[name].add(target)
    return graph


def _nodes(tree: ast.AST, at_once: bool) -> list[ast.stmt]:
    found: list[ast.stmt] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found.append(node)
        elif (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        ) or (at_once and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
            continue
        else:
            found += _nodes(node, at_once)
    return found


def _targets(node: ast.stmt, module: str, path: Path) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert isinstance(node, ast.ImportFrom)
    base = node.module or ""
    if node.level:
        parts = module.split(".")
        up = node.level - (path.name == "__init__.py")
        base = ".".join([*parts[: len(parts) - up], *filter(None, [node.module])])
    return [f"{base}.{alias.name}" for alias in node.names]


def table() -> dict[str, set[str]]:
    """Read the rules off the table in CONTRIBUTING.md."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rules = {}
    for row in re.findall(r"^\| `([^|]*)` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE):
        place = {"sirfp_opt/*.py": "core", "solvers/sirfp_opt_solvers/": "solvers"}.get(
            row[0], row[0].removeprefix("sirfp_opt/").rstrip("/")
        )
        words = set(re.findall(r"[a-z_]+", row[1]))
        every = {"core", "solvers", *PLACES}
        rules[place] = every if "all" in words else words & every
    return rules


def test_imports_keep_to_the_table_in_contributing() -> None:
    """Lazy imports count, too: a place may know only what stands beside it there."""
    rules = table()
    assert set(rules) >= {"core", "solvers", *PLACES}
    broken = {
        f"{name} imports {other}"
        for name, others in imports(at_once=False).items()
        for other in others
        if place_of(other) not in rules[place_of(name)] | {place_of(name)}
        # Asked for its name only.
        and other != "sirfp_opt"
    }
    assert not broken, broken


def test_no_circle_of_imports() -> None:
    """No module is imported, on the way, by what it imports."""
    graph = {
        name: {o for o in others if not name.startswith(f"{o}.")}
        for name, others in imports(at_once=True).items()
    }
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            circle = " -> ".join([*path[path.index(name) :], name])
            pytest.fail(f"circle: {circle}")
        if name in done:
            return
        for other in sorted(graph[name]):
            visit(other, [*path, name])
        done.add(name)

    for name in sorted(graph):
        visit(name, [])


def test_methods_stand_above_what_they_share() -> None:
    """In the solvers no folder imports a method, not even inside of a function."""
    methods = {n for n in modules() if re.fullmatch(r"sirfp_opt_solvers\.[a-z]\w*", n)}
    methods -= {"sirfp_opt_solvers.relaxations"}
    assert "sirfp_opt_solvers.tabu" in methods
    up = {
        f"{name} imports {other}"
        for name, others in imports(at_once=False).items()
        for other in others & methods
        if name.startswith("sirfp_opt_solvers.") and name not in methods
    }
    assert up == set()


def test_former_paths_say_the_new_one() -> None:
    """Each raises an ImportError with the module that is there now."""
    for old, new in MOVED.items():
        assert importlib.util.find_spec(new) is not None, new
        with pytest.raises(ImportError, match=re.escape(new)):
            importlib.import_module(old)
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        importlib.import_module("sirfp_opt.nothing_of_the_kind")
    for line, new in (
        ("from sirfp_opt.network.allocation import Budget", "sirfp_opt.network.Budget"),
        ("from sirfp_opt.plotting import plot_gaps", "sirfp_opt.study.plot_gaps"),
    ):
        with pytest.raises(ImportError, match=re.escape(new)):
            exec(line)


def test_folders_of_an_earlier_version_hide_no_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What compiled files have kept alive is no package of that name."""
    old = "sirfp_opt.allocation"
    (tmp_path / "allocation" / "__pycache__").mkdir(parents=True)
    monkeypatch.setattr(sirfp_opt, "__path__", [*sirfp_opt.__path__, str(tmp_path)])
    with pytest.raises(ModuleNotFoundError, match=re.escape(MOVED[old])):
        importlib.import_module(old)
    assert old not in sys.modules


@pytest.mark.parametrize(
    "package", ["", ".network", ".network.allocation", ".study", ".io", ".pytorch"]
)
def test_public_functions_have_short_signatures(package: str) -> None:
    """At most twelve parameters; what is seldom needed is in a value."""
    module = importlib.import_module(f"sirfp_opt{package}")
    functions = {
        name: len(inspect.signature(thing).parameters)
        for name in module.__all__
        if inspect.isfunction(thing := getattr(module, name))
    }
    assert {name: count for name, count in functions.items() if count > 12} == {}


def test_files_stay_short() -> None:
    """One idea a file: at most 420 lines."""
    long = {
        name: lines
        for name, path in modules().items()
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 420
    }
    assert long == {}
