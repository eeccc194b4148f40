"""A plan applied: surgery, masks, storing what is left."""
