"""The cost model: products of channel counts, expanded once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sirfp_opt import InvalidProblemError
from sirfp_opt.network.cost import Affine, CostForm, CostModel

UNITS = ("a", "b", "c")
# stem 3 -> a, then (a + 2 fixed + twice b) -> c, c -> c, and a bias.
PRODUCTS = [
    (9.0, Affine(3.0), Affine(0.0, {"a": 1.0})),
    (4.0, Affine(2.0, {"a": 1.0, "b": 2.0}), Affine(0.0, {"c": 1.0})),
    (1.0, Affine(0.0, {"c": 1.0}), Affine(0.0, {"c": 1.0})),
    (1.0, Affine(1.0), Affine(5.0, {"b": 1.0})),
]


def by_hand(a: int, b: int, c: int) -> int:
    """Evaluate the products one by one."""
    return 9 * 3 * a + 4 * (2 + a + 2 * b) * c + c * c + (5 + b) + 100


@pytest.fixture
def model() -> CostModel:
    """Return a model with two costs."""
    form = CostForm.from_products(UNITS, PRODUCTS, 100.0)
    params = CostForm.from_products(UNITS, PRODUCTS[:1])
    return CostModel(UNITS, np.array([4, 6, 8]), {"macs": form, "params": params})


def test_expansion_equals_the_products(model: CostModel) -> None:
    """Const + linear + bilinear gives what the layers give, squares included."""
    rng = np.random.default_rng(0)
    for counts in rng.integers(0, 20, (50, 3)).tolist():
        assert model.forms["macs"](np.array(counts)) == by_hand(*counts)


def test_gradient_is_the_derivative(model: CostModel) -> None:
    """Central differences agree, exactly for a quadratic."""
    form, k = model.forms["macs"], np.array([3.0, 5.0, 7.0])
    for i, step in enumerate(np.eye(3)):
        slope = (form(k + step) - form(k - step)) / 2
        assert form.gradient(k)[i] == pytest.approx(slope)


def test_predict_and_total(model: CostModel) -> None:
    """Counts by name or in order; units left out are whole; totals are integers."""
    assert model.total("macs") == by_hand(4, 6, 8)
    assert model.predict({"b": 2}) == {"macs": by_hand(4, 2, 8), "params": 108}
    assert model.predict([1, 2, 3]) == model.predict({"a": 1, "b": 2, "c": 3})
    assert isinstance(model.predict({})["macs"], int)


def test_entries_below_the_diagonal_count() -> None:
    """A full matrix means the same as its upper triangle with both halves added."""
    form = CostForm(0.0, np.zeros(2), np.array([[1.0, 2.0], [3.0, 0.0]]))
    assert form(np.array([2, 5])) == 4 + 5 * 10
    assert form.quadratic[1, 0] == 0


def test_round_trip(model: CostModel) -> None:
    """JSON there and back predicts the same."""
    loaded = CostModel.from_dict(json.loads(json.dumps(model.to_dict())))
    assert loaded.units == model.units
    for counts in ([4, 6, 8], [1, 1, 1], [2, 0, 5]):
        assert loaded.predict(counts) == model.predict(counts)


def test_bad_models(model: CostModel) -> None:
    """Unknown units, wrong shapes, negative counts and NaN are refused."""
    with pytest.raises(InvalidProblemError, match="units of the cost model"):
        model.predict({"z": 1})
    with pytest.raises(InvalidProblemError, match="counts"):
        model.predict([1, 2])
    with pytest.raises(InvalidProblemError, match="counts"):
        model.predict([1, 2, -3])
    with pytest.raises(InvalidProblemError, match="quadratic"):
        CostForm(0.0, np.zeros(2), np.zeros((3, 3)))
    with pytest.raises(InvalidProblemError, match="units"):
        CostModel(("a", "a"), np.array([1, 2]), {})
    with pytest.raises(InvalidProblemError, match="forms"):
        CostModel(("a",), np.array([1]), model.forms)
