"""Interaction logs: filters, splits, vocabulary, graph, loaders."""
