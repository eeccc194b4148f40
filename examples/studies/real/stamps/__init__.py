"""A task trained by ourselves: photographic cut-outs on photographs."""
