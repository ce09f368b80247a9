"""Metrics, the evaluation of a part of the data, and reports by group."""
