"""Control: who decides what a point is set to, and how that comes about."""
