"""How much of a network can be cut, and what holds the rest, in one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["headline", "holders", "percent", "warning"]

MOST = 3
"""Reasons that are told."""


def headline(
    channels: Mapping[str, int],
    macs: Mapping[str, int] | None,
    exclusions: Iterable[Mapping[str, Any]],
) -> str:
    """Say how much can be cut, how much was, and what holds most of the rest.

    Parameters
    ----------
    channels : mapping of str to int
        total, can (be cut), kept (of those that can).
    macs : mapping of str to int, optional
        total, can.
    exclusions : iterable of mapping
        size, layer, unit and reason of what is left whole.

    Examples
    --------
    >>> whole = {"unit": "b", "size": 2, "layer": "b", "reason": "why"}
    >>> headline({"total": 4, "can": 2, "kept": 1}, {"total": 9, "can": 3}, [whole])
    '2 of 4 channels (50 %) and 33 % of the MACs can be cut, 1 channel was; the rest \
is left whole: 2 by b (why).'
    """
    total, can, kept = (channels[name] for name in ("total", "can", "kept"))
    text = f"{can} of {total} channels ({percent(can, total)})"
    if macs is not None:
        text += f" and {percent(macs['can'], macs['total'])} of the MACs"
    gone = can - kept
    text += f" can be cut, {gone} channel{' was' if gone == 1 else 's were'}"
    held = holders(exclusions)
    if held:
        share = "the rest" if len(held) <= MOST else "most of the rest"
        told = ", ".join(
            f"{size} by {where} ({why})" for size, where, why in held[:MOST]
        )
        text += f"; {share} is left whole: {told}"
    return text + "."


def holders(
    exclusions: Iterable[Mapping[str, Any]],
) -> list[tuple[int, str, str]]:
    """Return what holds channels: how many, the modules, the reason; most first.

    What has one reason counts together, under the module that holds most of it.

    Examples
    --------
    >>> one = {"unit": "a", "size": 3, "layer": "a", "reason": "it is the output"}
    >>> holders([one, {**one, "unit": "b", "size": 5, "layer": "b"}])
    [(8, 'b and 1 other', 'it is the output')]
    """
    by_reason: dict[str, dict[str, int]] = {}
    for exclusion in exclusions:
        layers = by_reason.setdefault(exclusion["reason"], {})
        layer = exclusion["layer"] or exclusion["unit"]
        layers[layer] = layers.get(layer, 0) + int(exclusion["size"])
    found = []
    for reason, layers in by_reason.items():
        where, others = max(layers, key=lambda name: layers[name]), len(layers) - 1
        if others:
            where += f" and {others} other{'s' * (others > 1)}"
        found.append((sum(layers.values()), where, reason))
    return sorted(found, key=lambda held: -held[0])


def warning(channels: Mapping[str, int], macs: Mapping[str, int] | None) -> str | None:
    """Say what to look at where less than half can be cut; None where it is more."""
    short = [
        name
        for name, part in (("channels", channels), ("MACs", macs))
        if part is not None and 2 * part["can"] < part["total"]
    ]
    if not short:
        return None
    return (
        f"less than half of the {' and of the '.join(short)} can be cut: a deep budget "
        "falls on few layers. See `exclusions` for each reason."
    )


def percent(part: int, whole: int) -> str:
    """Write a share so that only all of it reads 100 %, and only nothing 0 %.

    Examples
    --------
    >>> percent(1, 3), percent(9999, 10000), percent(0, 3)
    ('33 %', '> 99.9 %', '0 %')
    """
    if part in (0, whole):
        return "100 %" if part else "0 %"
    share = 100 * part / whole
    if share < 0.1 or share > 99.9:
        return "< 0.1 %" if share < 0.1 else "> 99.9 %"
    return f"{share:.0f} %" if 1 <= share <= 99 else f"{share:.1f} %"
