"""How devices are spoken to: one file a protocol, profiles as data, one contract. Imports wire and nothing else."""
