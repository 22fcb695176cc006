"""What is kept beside the log and is truth of its own, which no rebuild drops. Contracts, and what they speak of."""
