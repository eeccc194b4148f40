"""What an extra would bring is asked for in one message."""

from __future__ import annotations

import importlib.util

import pytest

from sirfp_opt import _page
from sirfp_opt.errors import MissingExtraError


def test_all_that_a_page_lacks_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither jinja2 nor matplotlib: one error with both, and one line to run."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        _page.need_pages()
    assert "jinja2, matplotlib must be installed" in str(caught.value)
    assert "pip install 'sirfp-opt[study,plot]'" in str(caught.value)
