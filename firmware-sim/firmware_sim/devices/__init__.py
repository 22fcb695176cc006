"""One file a model: what it measures, how its data sheet encodes that, and what a reader must get out of it."""
