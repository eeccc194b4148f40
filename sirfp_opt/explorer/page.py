"""The explorer's page: plain data, drawn by a small script in the browser."""

from __future__ import annotations

import html
import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sirfp_opt._page import render_page

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sirfp_opt.explorer.layer import ExploredLayer

__all__ = ["Explorer"]

# Matrices of many layers are made smaller, so that a page stays within a few MB.
_SIDES = {4: 128, 16: 96}
_SMALLEST_SIDE = 64
_SCRIPT = ("drawing.js", "explorer.js")


@dataclass(frozen=True, eq=False, repr=False)
class Explorer:
    """A page to play with one layer or several; made by `explore`.

    Attributes
    ----------
    data : dict
        What the page shows, as plain values: under "layers" the name, the counts with
        greedy's and the best set and their values, the bound, and the pictures.
    title : str
    """

    data: dict[str, Any]
    title: str

    @classmethod
    def of(cls, layers: Mapping[str, ExploredLayer], *, title: str = "") -> Explorer:
        """Make a page of layers that have been explored.

        Parameters
        ----------
        layers : mapping of str to ExploredLayer
        title : str
            By default the name of the only layer, or how many there are.
        """
        sides = [side for most, side in _SIDES.items() if len(layers) <= most]
        most = sides[0] if sides else _SMALLEST_SIDE
        told = [
            layer.to_dict(most=most) | {"name": name or layer.name or "layer"}
            for name, layer in layers.items()
        ]
        if not title:
            title = told[0]["name"] if len(told) == 1 else f"{len(told)} layers"
        return cls({"layers": told}, title)

    def __repr__(self) -> str:
        names = [layer["name"] for layer in self.data["layers"]]
        word = "layer" if len(names) == 1 else "layers"
        more = ", ..." if len(names) > 4 else ""
        return f"Explorer({len(names)} {word}: {', '.join(names[:4])}{more})"

    @property
    def html(self) -> str:
        """The page, which needs nothing beside itself.

        Raises
        ------
        MissingExtraError
            If jinja2 is not installed.
        """
        from markupsafe import Markup

        here = files(__package__)
        # Within a script element only "<" could end it.
        data = json.dumps(self.data, allow_nan=False, separators=(",", ":"))
        layers = self.data["layers"]
        channels = sum(layer["n"] for layer in layers)
        facts = f"{channels} channels" + (
            f" in {len(layers)} layers" if len(layers) > 1 else ""
        )
        return render_page(
            (here / "explorer.html").read_text("utf-8"),
            title=self.title,
            facts=f"{facts}. Move k, and see which channels stay.",
            style=Markup((here / "explorer.css").read_text("utf-8")),
            script=Markup(
                "\n".join((here / part).read_text("utf-8") for part in _SCRIPT)
            ),
            data=Markup(data.replace("<", "\\u003c")),
            layers=layers,
        )

    def save(self, path: str | Path) -> None:
        """Write the page.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        MissingExtraError
            If jinja2 is not installed.
        """
        Path(path).write_text(self.html, encoding="utf-8")

    def _repr_html_(self) -> str:
        """Show the page in a notebook, in a frame of its own."""
        page = html.escape(self.html)
        return (
            f'<iframe srcdoc="{page}" title="Explorer of {html.escape(self.title)}" '
            'style="width: 100%; height: 56rem; border: 1px solid #888"></iframe>'
        )
