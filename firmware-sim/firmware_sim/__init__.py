"""A simulated street: streetlights, bins and sensors as real protocol servers.

Promises: it imports nothing of the gateway it is used against, so that what both sides agree on is what
the data sheets say (`firmware-sim/DATASHEETS.md`) and not a shared mistake; and it writes down every value
that it has offered, in a ledger that others can be held against.
"""
