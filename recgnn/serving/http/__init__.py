"""A run behind HTTP: what `python -m recgnn.serve` starts. It needs the extra `serve`."""
