"""The log: what is taken once and for ever, as every other room sees it. Contracts and pure rules; no I/O."""
