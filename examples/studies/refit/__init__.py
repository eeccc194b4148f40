"""Study: what a refit without labels is worth, and which channels it wants kept."""
