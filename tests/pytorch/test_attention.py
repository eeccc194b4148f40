"""nn.MultiheadAttention with fewer heads, narrower ones, on a narrower stream."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sirfp_opt import InvalidProblemError
from sirfp_opt.network.plan import PruningPlan, PruningUnit, Site
from sirfp_opt.pytorch import apply_plan, load_pruned, mask, save_pruned

E, HEADS, BATCH, QUERIES, KEYS = 12, 4, 2, 5, 7
WIDTH = E // HEADS


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Return random numbers in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def attention(**options: Any) -> nn.Module:
    """Return an attention with random parameters, in a container."""
    module = nn.MultiheadAttention(E, HEADS, **options).double().eval()
    for i, p in enumerate(module.parameters()):
        p.data = numbers(*p.shape, seed=i) * 0.5
    holder = nn.Module()
    holder.att = module
    return holder


def rows(names: str, table: np.ndarray, net: Any) -> list[Site]:
    """Return the sites of rows of queries, keys and values ("q", "k", "v")."""
    att = net.att
    places = {"q": 0, "k": 1, "v": 2}
    sites = []
    if att.in_proj_weight is not None:
        parts = np.concatenate([table + E * places[n] for n in names], 1)
        sites.append(Site.of_table("att.in_proj_weight", 0, 3 * E, parts))
    else:
        sites += [Site.of_table(f"att.{n}_proj_weight", 0, E, table) for n in names]
    if att.in_proj_bias is not None:
        parts = np.concatenate([table + E * places[n] for n in names], 1)
        sites.append(Site.of_table("att.in_proj_bias", 0, 3 * E, parts))
    for n in names:
        if n != "q" and att.bias_k is not None:
            sites.append(Site.of_table(f"att.bias_{n}", 2, E, table))
    return sites


def heads_plan(net: nn.Module, kept: list[int]) -> PruningPlan:
    """Keep whole heads."""
    table = np.arange(E)[:, None]
    sites = [*rows("qkv", table, net), Site("att.out_proj.weight", 1, E, "in")]
    tied = [range(c, c + WIDTH) for c in range(0, E, WIDTH)]
    unit = PruningUnit("heads", E, tuple(sites), tuple(map(tuple, tied)))
    channels = [c for h in kept for c in range(h * WIDTH, (h + 1) * WIDTH)]
    return PruningPlan([unit], {"heads": channels})


def by_hand(net: Any, kept: list[int]) -> Any:
    """Return the attention whose other heads are not read: another twin."""
    gone = [c for c in range(E) if c // WIDTH not in kept]
    twin: Any = copy.deepcopy(net)
    with torch.no_grad():
        twin.att.out_proj.weight[:, gone] = 0
    return twin


OPTIONS = list(
    itertools.product(
        (True, False),  # bias
        (True, False),  # batch first
        (None, 9),  # keys of another width
        (True, False),  # bias_k and bias_v
        (True, False),  # a zero key
        ("none", "float", "bool", "head", "padding", "both", "causal"),
    )
)


@pytest.mark.parametrize("kind", ["none", "float", "bool", "head", "padding", "both"])
def test_fewer_heads_equal_masked_heads(kind: str) -> None:
    """Whatever the options: the slim attention gives what zeroed heads give."""
    kept = [0, 2]
    for bias, first, kdim, extra, zero_key, what in OPTIONS:
        if what != kind:
            continue
        net: Any = attention(
            bias=bias,
            batch_first=first,
            kdim=kdim,
            vdim=kdim,
            add_bias_kv=extra,
            add_zero_attn=zero_key,
        )
        slim: Any = apply_plan(net, heads_plan(net, kept))
        assert list(slim.state_dict()) == list(net.state_dict())
        wide = E if kdim is None else kdim
        q, k, v = numbers(BATCH, QUERIES, E), numbers(BATCH, KEYS, wide), None
        v = numbers(BATCH, KEYS, wide, seed=5)
        tokens = [t if first else t.transpose(0, 1) for t in (q, k, v)]
        given: dict[str, Any] = {}
        if what == "float":
            given["attn_mask"] = numbers(QUERIES, KEYS, seed=7)
        if what in ("bool", "both"):
            given["attn_mask"] = numbers(QUERIES, KEYS, seed=7) > 0.8
        if what == "head":
            given["attn_mask"] = numbers(BATCH * HEADS, QUERIES, KEYS, seed=7)
        if what in ("padding", "both"):
            given["key_padding_mask"] = torch.arange(KEYS).expand(BATCH, -1) > 5
        for need, average in ((False, True), (True, True), (True, False)):
            call = {**given, "need_weights": need, "average_attn_weights": average}
            expected, weights = by_hand(net, kept).att(*tokens, **call)
            masked: Any = mask(net, heads_plan(net, kept))
            twin, _ = masked.att(*tokens, **call)
            found, own = slim.att(*tokens, **call)
            assert (found - expected).abs().max() < 1e-12
            assert (twin - expected).abs().max() < 1e-12
            if need and not average:
                assert (own - weights[:, kept]).abs().max() < 1e-12


def test_without_batch_and_causal() -> None:
    """Two-dimensional inputs, and the hint of a causal mask."""
    net: Any = attention()
    plan = heads_plan(net, [1, 3])
    slim: Any = apply_plan(net, plan)
    x = numbers(QUERIES, E)
    causal = nn.Transformer.generate_square_subsequent_mask(QUERIES).double()
    for call in (
        {},
        {"attn_mask": causal, "is_causal": True, "need_weights": False},
        {"key_padding_mask": torch.arange(QUERIES) > 3},
    ):
        expected, _ = by_hand(net, [1, 3]).att(x, x, x, **call)
        assert (slim.att(x, x, x, **call)[0] - expected).abs().max() < 1e-12
    with pytest.raises(InvalidProblemError, match="attn_mask"):
        slim.att(x, x, x, is_causal=True)


@pytest.mark.parametrize("names", ["qk", "v"])
def test_the_same_dimension_of_every_head(names: str) -> None:
    """Narrower scores keep their former scale; narrower values are read where they are.

    Channel c of the unit is dimension c of each head.
    """
    net: Any = attention(add_bias_kv=True)
    table = np.arange(WIDTH)[:, None] + WIDTH * np.arange(HEADS)
    sites = rows(names, table, net)
    if names == "v":
        sites.append(Site.of_table("att.out_proj.weight", 1, E, table, "in"))
    plan = PruningPlan([PruningUnit("d", WIDTH, tuple(sites))], {"d": [0, 2]})
    slim: Any = apply_plan(net, plan)
    gone = table[1]
    twin: Any = attention(add_bias_kv=True)
    with torch.no_grad():
        for name in names:
            first = E * "qkv".index(name)
            twin.att.in_proj_weight[first + gone] = 0
            twin.att.in_proj_bias[first + gone] = 0
            if name != "q":
                getattr(twin.att, f"bias_{name}")[..., gone] = 0
    x = numbers(QUERIES, BATCH, E)
    expected = twin.att(x, x, x)[0]
    assert (slim.att(x, x, x)[0] - expected).abs().max() < 1e-12
    assert (net.att(x, x, x)[0] - expected).abs().max() > 1e-3


def test_heads_torn_apart_are_refused() -> None:
    """Queries without their keys, or heads of unequal width: refused before a cut."""
    net: Any = attention()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    table = np.arange(E)[:, None]
    for names, kept in (("q", [0, 1, 2]), ("qkv", [0, 1, 3, 4, 5])):
        unit = PruningUnit("torn", E, tuple(rows(names, table, net)))
        with pytest.raises(InvalidProblemError, match="whole heads"):
            apply_plan(net, PruningPlan([unit], {"torn": kept}), inplace=True)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


class Encoder(nn.Module):
    """Tokens through PyTorch's own encoder, which has a fused path in evaluation."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            E, HEADS, 20, batch_first=True, norm_first=norm_first, dropout=0.0
        )
        self.embed = nn.Linear(6, E)
        self.place = nn.Parameter(torch.randn(1, QUERIES, E))
        self.encoder = nn.TransformerEncoder(
            layer, 2, enable_nested_tensor=not norm_first
        )
        self.norm = nn.LayerNorm(E)
        self.head = nn.Linear(E, 3)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """Classify each token."""
        x = self.encoder(self.embed(x) + self.place, src_key_padding_mask=padding)
        out: Tensor = self.head(self.norm(x))
        return out


def encoder_plan(*, which: str) -> PruningPlan:
    """Cut the stream, the heads or the inner widths of `Encoder`."""
    stream = [
        Site("embed.weight", 0, E),
        Site("embed.bias", 0, E),
        Site("place", 2, E),
        Site("norm.weight", 0, E),
        Site("norm.bias", 0, E),
        Site("head.weight", 1, E, "in"),
    ]
    units, kept = [], {}
    for i in range(2):
        p = f"encoder.layers.{i}."
        a = f"{p}self_attn."
        stream += [
            Site(f"{a}in_proj_weight", 1, E, "in"),
            Site(f"{a}out_proj.weight", 0, E),
            Site(f"{a}out_proj.bias", 0, E),
            Site(f"{p}linear1.weight", 1, E, "in"),
            Site(f"{p}linear2.weight", 0, E),
            Site(f"{p}linear2.bias", 0, E),
        ]
        for n in ("norm1", "norm2"):
            stream += [Site(f"{p}{n}.{w}", 0, E) for w in ("weight", "bias")]
        table = np.arange(E)[:, None] + E * np.arange(3)
        heads = (
            Site.of_table(f"{a}in_proj_weight", 0, 3 * E, table),
            Site.of_table(f"{a}in_proj_bias", 0, 3 * E, table),
            Site(f"{a}out_proj.weight", 1, E, "in"),
        )
        inner = (
            Site(f"{p}linear1.weight", 0, 20),
            Site(f"{p}linear1.bias", 0, 20),
            Site(f"{p}linear2.weight", 1, 20, "in"),
        )
        tied = tuple(tuple(range(c, c + WIDTH)) for c in range(0, E, WIDTH))
        units += [PruningUnit(f"heads{i}", E, heads, tied)]
        units += [PruningUnit(f"inner{i}", 20, inner)]
        if which in ("heads", "all"):
            kept[f"heads{i}"] = [3, 4, 5, 9, 10, 11] if i else [0, 1, 2]
        if which in ("inner", "all"):
            kept[f"inner{i}"] = list(range(i, 20, 3))
    units.append(PruningUnit("stream", E, tuple(stream)))
    if which in ("stream", "all"):
        kept["stream"] = [0, 3, 4, 8, 11]
    return PruningPlan(units, kept)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("which", ["stream", "heads", "inner", "all"])
def test_an_encoder_on_its_fused_path_or_off_it(which: str, norm_first: bool) -> None:
    """In evaluation, without gradients, with padding: pruned = masked, and unfused."""
    torch.manual_seed(0)
    net = Encoder(norm_first=norm_first).double().eval()
    plan = encoder_plan(which=which)
    pruned, twin = apply_plan(net, plan), mask(net, plan)
    x = numbers(BATCH, QUERIES, 6)
    padding = torch.arange(QUERIES).expand(BATCH, -1) > 3
    fast = torch.backends.mha.get_fastpath_enabled()
    for given in (None, padding):
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            with torch.no_grad():
                expected = twin(x, given)
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
        with torch.no_grad():
            found = pruned(x, given)
        rest = slice(None) if given is None else slice(4)  # padded tokens are anything
        assert (found - expected)[:, rest].abs().max() < 1e-12
        assert (found - net(x, given))[:, rest].abs().max() > 1e-3


@pytest.mark.filterwarnings("ignore")
def test_a_cut_encoder_goes_to_onnx(tmp_path: Any) -> None:
    """Slim attention and norms with a former width are ordinary operators there."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    net = Encoder(norm_first=True).eval()
    pruned = apply_plan(net, encoder_plan(which="all"))
    x = numbers(BATCH, QUERIES, 6).float()
    path = tmp_path / "pruned.onnx"
    torch.onnx.export(pruned, (x,), path, dynamo=True, verbose=False)
    session = runtime.InferenceSession(path)
    (found,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    assert np.abs(found - pruned(x).detach().numpy()).max() < 1e-5


def test_a_cut_encoder_is_saved_and_loaded(tmp_path: Any) -> None:
    """Its norms and its attention come back by the plan; the file holds no code."""
    torch.manual_seed(0)
    net = Encoder(norm_first=True).double().eval()
    plan = encoder_plan(which="all")
    pruned = apply_plan(net, plan)
    save_pruned(tmp_path / "small.pt", pruned, plan)
    fresh = Encoder(norm_first=True).double().eval()
    loaded = load_pruned(tmp_path / "small.pt", fresh)
    x = numbers(BATCH, QUERIES, 6)
    assert torch.equal(loaded(x), pruned(x))
    ordinary = PruningPlan(plan.units, dict(plan), norms="own")
    other = apply_plan(net, ordinary)
    save_pruned(tmp_path / "own.pt", other, ordinary)
    assert torch.equal(load_pruned(tmp_path / "own.pt", fresh)(x), other(x))
    assert (other(x) - pruned(x)).abs().max() > 1e-3
