"""Verbs: what `lamplighter-edge` does besides running the node."""
