"""What heuristics share: starts, moves, runs."""
