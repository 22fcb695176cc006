"""What happens in the street: pure functions and small states of street time, seeded, without I/O."""
