"""What is used of torch beyond its public interface does what is taken for granted."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import torch
from torch import nn

from sirfp_opt.pytorch.coupling.labels import internals


def test_views_share_a_storage_key() -> None:
    """A view has the key of its tensor, a copy has another one."""
    x = torch.rand(4, 6)
    assert internals.storage_key(x[1:, ::2].t()) == internals.storage_key(x)
    assert internals.storage_key(x.clone()) != internals.storage_key(x)


def test_a_reference_expires_with_the_storage() -> None:
    """It is alive as long as a view is, and keeps nothing alive itself."""
    x = torch.rand(4)
    view, reference = x[1:], internals.StorageReference(x)
    del x
    assert not reference.expired()
    del view
    assert reference.expired()


def test_the_mode_sees_operations_taken_apart() -> None:
    """A linear layer and a mean over positions come as products and reductions."""
    seen: list[tuple[str, dict[str, Any]]] = []

    class Mode(internals.DispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            bound = internals.arguments_of(func, args, kwargs or {})
            seen.append((internals.name_of(func), bound))
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Mode():
        nn.Linear(3, 4)(torch.ones(2, 3)).mean(1)
    names = [name for name, _ in seen]
    assert "addmm" in names
    assert "linear" not in names
    mean = dict(seen)["mean"]
    assert (mean["dim"], mean["keepdim"]) == ([1], False)


def test_pointwise_operations_have_a_tag() -> None:
    """Sums and sigmoids do, products of matrices do not."""
    assert internals.is_pointwise("add")
    assert internals.is_pointwise("sigmoid")
    assert not internals.is_pointwise("mm")
    assert not internals.is_pointwise("cat")


def test_eagerly_puts_the_fast_path_back() -> None:
    """Inside attention takes ordinary operations; afterwards all is as before."""
    before = torch.backends.mha.get_fastpath_enabled()
    with internals.eagerly():
        assert not torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mha.get_fastpath_enabled() == before


def test_the_compiler_is_not_imported() -> None:
    """Tracing does not pay for it: seconds, and a hundred megabytes."""
    code = (
        "import sys, torch; from torch import nn\n"
        "from sirfp_opt.pytorch.coupling.labels.engine import trace\n"
        "net = nn.Conv2d(3, 4, 1)\n"
        "trace(net, [(torch.rand(1, 3, 4, 4), net)])\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
