"""History into files: the verb `export`."""
