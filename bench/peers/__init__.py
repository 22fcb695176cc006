"""Peers: other people's programs for the same work, installed beside us with pinned versions and run side by side."""
