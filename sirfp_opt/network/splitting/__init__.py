"""The machine behind an optimal split: relaxation, elimination, branching."""
