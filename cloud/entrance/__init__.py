"""What stands before the application: connections, addresses, tokens, and the bounds on all of them."""
