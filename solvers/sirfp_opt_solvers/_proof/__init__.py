"""What exact methods share: trees, linear models, workers."""
