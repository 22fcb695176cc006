"""The benchmark: what one reading costs, from wire to store, beside its peers and its limits in the same run."""
