"""Requests are values: checked when they are made, written and read back."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from sirfp_opt import InvalidProblemError
from sirfp_opt._rules import rules_of
from sirfp_opt.pytorch import METRICS, Extraction, Extractor, extract
from sirfp_opt.pytorch.extraction.settings import ExtractionSettings, as_extraction
from tests.pytorch.networks import SOUND, randomized

IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))

BROKEN = [
    (name, value) for name, rule in rules_of(Extraction).items() for value in rule.bad
]


def test_keywords_are_the_fields() -> None:
    """What may be passed as a keyword is a field, and the other way round."""
    assert set(ExtractionSettings.__annotations__) == {
        field.name for field in fields(Extraction)
    }


@pytest.mark.parametrize(("name", "value"), BROKEN, ids=lambda x: str(x)[:20])
def test_what_breaks_a_rule_is_refused_by_its_name(name: str, value: Any) -> None:
    """Each declared rule is enforced, before the network is looked at."""
    with pytest.raises(InvalidProblemError, match=f"`{name}` must be"):
        Extraction(**{name: value})
    with pytest.raises(InvalidProblemError, match=f"`{name}` must be"):
        extract(None, None, **{name: value})  # type: ignore[arg-type]


def test_an_extraction_goes_to_json_and_back() -> None:
    """Every field, a dtype included; a metric of one's own is written, not read."""
    whole = Extraction(
        "spatial", None, decay=0.9, combine="max", dtype=torch.bfloat16, positions=8
    )
    assert Extraction.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
    mine = Extraction(replace(METRICS["spatial"], centred=True))
    text = json.dumps(mine.to_dict())
    with pytest.raises(InvalidProblemError, match="`metric` must be"):
        Extraction.from_dict(json.loads(text))


def test_graphs_remember_how_they_were_measured() -> None:
    """A value, a mapping and keywords say the same; unknown keywords are refused."""
    model = randomized(SOUND["plain"])
    one = extract(model, IMAGES, Extraction("spatial"), absolute=False)
    assert one.extraction == Extraction("spatial", absolute=False)
    assert (
        one.extraction
        == extract(model, IMAGES, {"metric": "spatial", "absolute": False}).extraction
    )
    assert Extractor(model, IMAGES).extraction == Extraction(decay=0.99)
    with pytest.raises(InvalidProblemError, match="Did you mean `metric`"):
        as_extraction(None, {"metrik": "spatial"})
    with pytest.raises(InvalidProblemError, match="`training` must be left to whoever"):
        Extractor(model, IMAGES, training=True)
