"""Which channels of a network go together, and what must stay whole."""

from __future__ import annotations

from sirfp_opt.pytorch.coupling.units import Coupling, Exclusion, Member, couple

__all__ = ["Coupling", "Exclusion", "Member", "couple"]
