"""What nodes send up, until it is in the log."""
