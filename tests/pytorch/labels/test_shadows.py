"""What a view sees of labels: looked up as if they were laid out element by element."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from sirfp_opt.pytorch.coupling.labels.shadows import Shadow, compact


def any_view(tensor: Tensor, data: st.DataObject) -> Tensor:
    """Draw a chain of views."""
    for _ in range(data.draw(st.integers(1, 4))):
        rank = tensor.dim()
        kind = data.draw(st.sampled_from(["turn", "cut", "fold", "spread", "lay"]))
        if kind == "turn":
            tensor = tensor.permute(data.draw(st.permutations(range(rank))))
        elif kind == "cut":
            dim = data.draw(st.integers(0, rank - 1))
            start = data.draw(st.integers(0, tensor.shape[dim] - 1))
            step = data.draw(st.integers(1, 2))
            index = [slice(None)] * rank
            index[dim] = slice(start, None, step)
            tensor = tensor[tuple(index)]
        elif kind == "spread":
            tensor = tensor[None].expand(2, *tensor.shape)
        elif tensor.is_contiguous() and kind == "fold":
            at = data.draw(st.integers(0, rank - 1))
            tensor = tensor.flatten(at)
        elif kind == "lay":
            dim = data.draw(st.integers(0, rank - 1))
            size = tensor.shape[dim]
            if size % 2 == 0:
                sizes = [*tensor.shape[:dim], 2, size // 2, *tensor.shape[dim + 1 :]]
                steps = list(tensor.stride())
                steps.insert(dim, steps[dim] * (size // 2))
                tensor = tensor.as_strided(sizes, steps, tensor.storage_offset())
    return tensor


@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.data())
def test_a_view_sees_the_labels_of_its_elements(
    sizes: list[int], data: st.DataObject
) -> None:
    """Turned, cut, folded, spread, laid out anew: whatever the tensor's own layout."""
    order = data.draw(st.permutations(range(len(sizes))))
    tensor = torch.zeros([sizes[d] for d in order])
    tensor = tensor.permute([order.index(d) for d in range(len(sizes))])
    vary = [n if data.draw(st.booleans()) else 1 for n in sizes]
    label = torch.arange(1, 1 + torch.Size(vary).numel()).view(vary)
    view = any_view(tensor, data)
    shadow, laid = Shadow.of(tensor, label), Shadow.of(tensor, label)
    laid._laid_out()
    found, expected = shadow.read(view), laid.read(view)
    assert found is not None
    assert expected is not None
    assert torch.equal(found, expected)
    assert torch.equal(compact(found), found)


def test_common_views_lay_nothing_out() -> None:
    """Heads, windows, transposed and flattened maps are looked up."""
    tokens = torch.zeros(2, 16, 12)
    shadow = Shadow.of(tokens, torch.arange(1, 13).view(1, 1, 12))
    heads = tokens.view(2, 16, 3, 4).transpose(1, 2)
    windows = tokens.view(2, 2, 2, 2, 2, 12).permute(0, 1, 3, 2, 4, 5)
    for view in (heads, heads.mT, windows, tokens.mT, tokens[:, 1:], tokens[..., 4:]):
        assert shadow.read(view) is not None
    assert shadow.flat is None
