"""The explorer in a browser: what is shown is the data, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from sirfp_opt import ChannelGraph, solve
from sirfp_opt.explorer import Explorer, explore
from tests.explorer.browser import CHROMIUM, DRIVER, KEYS, Browser
from tests.explorer.test_data import layer, set_of

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="needs chromium and chromedriver"
)

EVIL = "</script><b>bold</b>"
N = 10


@pytest.fixture(scope="module")
def page() -> Explorer:
    """Two layers: one with a set in hand and maps, one with a name to trip over."""
    first = layer(4)
    return explore(
        {
            "first": solve(first, 4, method="top_k"),
            EVIL: ChannelGraph.from_redundancy(layer(5, n=6).weights),
        },
        maps={"first": np.random.default_rng(0).random((N, 8, 12))},
        title="Two layers",
    )


@pytest.fixture(scope="module")
def browser(
    page: Explorer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    """Open the page in a browser; at the end nothing has gone wrong there."""
    folder = tmp_path_factory.mktemp("browser")
    page.save(folder / "page.html")
    opened = Browser(folder / "profile")
    try:
        opened.open(folder / "page.html")
        yield opened
        assert opened.errors() == []
    finally:
        opened.close()


def rows_of(page: Explorer, number: int = 0) -> Any:
    """Return the rows of a layer."""
    return page.data["layers"][number]["rows"]


def short(value: float) -> str:
    """Write a number as the page does, to four digits."""
    return f"{value:.4g}"


def painted(browser: Browser, canvas: str) -> int:
    """Return how many colours a canvas shows."""
    return int(
        browser.run(
            f"const c = document.querySelector('{canvas}');"
            "const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "return new Set(new Uint32Array(d.buffer)).size"
        )
    )


def test_it_opens_with_the_set_in_hand(browser: Browser, page: Explorer) -> None:
    """Its k, its value and its channels; all pictures are drawn; nothing is loaded."""
    chosen = page.data["layers"][0]["chosen"]
    assert browser.text("#told") == "4 of 10"
    assert short(chosen["value"]) in browser.text("#facts")
    told = browser.run("return document.querySelector('#set').textContent")
    assert told.endswith(": " + ", ".join(map(str, set_of(chosen, N))) + ".")
    assert all(
        painted(browser, c) > 4 for c in ("#graph", "#matrix", "#kept", "#dropped")
    )
    loaded = browser.run("return performance.getEntriesByType('resource').length")
    assert loaded == 0


def test_keys_and_buttons_move_k(browser: Browser, page: Explorer) -> None:
    """Arrows anywhere on the page and on the slider; Home; the two buttons."""
    told = []
    for where, key in (
        ("body", KEYS["Right"]),
        ("#k", KEYS["Right"]),
        ("#k", KEYS["Home"]),
        ("#k", KEYS["Left"]),
    ):
        browser.press(where, key)
        told.append(browser.text("#told"))
    browser.click("#more")
    told.append(browser.text("#told"))
    assert told == ["5 of 10", "6 of 10", "1 of 10", "1 of 10", "2 of 10"]
    browser.click("#curve")  # its middle
    assert browser.text("#told") in ("5 of 10", "6 of 10")
    browser.press("body", 4 * KEYS["Left"])
    spoken = browser.run("return document.querySelector('#k').ariaValueText")
    assert spoken == f"{browser.text('#told')} channels kept"


def test_each_set_is_shown_with_its_value(browser: Browser, page: Explorer) -> None:
    """By key g and b, at some k: greedy's, the best one, and that it is proved."""
    browser.press("#k", KEYS["Home"])
    for row in rows_of(page)[:4]:
        for key, which in (("g", "greedy"), ("b", "best")):
            browser.press("body", key)
            assert short(row[which]["value"]) in browser.text("#facts")
            told = browser.run("return document.querySelector('#set').textContent")
            channels = ", ".join(map(str, set_of(row[which], N)))
            assert told.endswith(f": {channels}.")
        assert "is proved" in browser.text("#facts")
        browser.press("#k", KEYS["Right"])


def test_another_layer(browser: Browser, page: Explorer) -> None:
    """Its name is text; it has no maps and no set in hand; the table has its rows."""
    browser.run(
        "const s = document.querySelector('#layer'); s.value = 1;"
        "s.dispatchEvent(new Event('change'))"
    )
    assert EVIL in browser.text("#layer option:checked")
    assert browser.text("#told") == "3 of 6"
    hidden = browser.run(
        "return [...document.querySelectorAll('#maps, #asked')].every(e => e.hidden)"
    )
    assert hidden
    cells = browser.run(
        "return [...document.querySelectorAll('#rows tr')]"
        ".map(r => [...r.children].map(c => c.textContent))"
    )
    assert [cell[0] for cell in cells] == [str(row["k"]) for row in rows_of(page, 1)]
    for cell, row in zip(cells, rows_of(page, 1), strict=True):
        assert float(cell[2]) == pytest.approx(row["best"]["value"], rel=1e-5)


def test_a_phone_does_not_scroll_sideways(browser: Browser) -> None:
    """At 390 pixels nothing is wider than the page, and pictures are drawn anew."""
    browser.resize(390, 800)
    browser.run("window.dispatchEvent(new Event('resize'))")
    wide = browser.run("return document.documentElement.scrollWidth")
    assert wide <= 390
    assert painted(browser, "#graph") > 4


def test_names_for_those_who_do_not_see(browser: Browser) -> None:
    """Every picture and field has a name that is not empty; the facts are announced."""
    nameless = browser.run(
        "return [...document.querySelectorAll('[aria-labelledby]')].filter(e => "
        "e.getAttribute('aria-labelledby').split(' ').some(i => "
        "!document.getElementById(i)?.textContent.trim())).map(e => e.id)"
    )
    assert set(nameless) <= {"kept", "dropped"}  # hidden: this layer has no maps
    labels = browser.run(
        "return [...document.querySelectorAll('input, select, button')].every(e => "
        "e.labels?.length || e.ariaLabel)"
    )
    assert labels
    assert browser.run("return document.querySelector('#facts').role") == "status"
