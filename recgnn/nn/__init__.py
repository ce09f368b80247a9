"""Layers, propagation, losses and optimizers: plain torch, testable alone."""
