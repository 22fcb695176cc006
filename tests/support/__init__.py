"""What several tests use: strategies, real brokers, processes, oracles."""
