"""The node's own HTTP, for who stands at the cabinet."""
