"""The notebooks run from top to bottom, and are stored without their outputs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))


def read(name: str) -> Any:
    """Return a notebook, checked against the format's schema."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)  # type: ignore[no-untyped-call]
    nbformat.validate(notebook)
    return notebook


def test_the_course_is_complete() -> None:
    """Notebooks 1 to 9 are there, numbered without a hole."""
    assert [name[:2] for name in NOTEBOOKS] == [f"{i:02}" for i in range(1, 10)]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_without_outputs(name: str) -> None:
    """No output, no execution count, no trace of the machine it was written on."""
    notebook = read(name)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert not any(cell.outputs or cell.execution_count for cell in code)
    assert not any(cell.metadata for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Future[Any]]]:
    """Run all notebooks, two at a time, each in a fresh kernel in its folder."""
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
        clients = {
            name: NotebookClient(
                read(name),
                timeout=120,
                kernel_name="python3",
                shutdown_kernel="graceful",  # joblib's workers end with it
                resources={"metadata": {"path": str(EXAMPLES)}},
            )
            for name in NOTEBOOKS
        }
        yield {name: pool.submit(client.execute) for name, client in clients.items()}
        pool.shutdown(cancel_futures=True)  # those that nobody asked for


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_runs_from_top_to_bottom(name: str, runs: dict[str, Future[Any]]) -> None:
    """Every cell runs."""
    runs[name].result()
