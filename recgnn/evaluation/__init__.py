"""Metrics, reports by group, and figures. The metrics are in `recgnn.evaluation.metrics`."""
