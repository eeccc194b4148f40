"""Upper bounds on the canonical problem, and what linear models are made of."""
