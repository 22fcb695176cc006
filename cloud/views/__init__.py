"""What is asked of the log, and how the answers are found: contract, answers, and the pure rules. No I/O."""
