"""Orders: given over HTTP, sent down to the nodes, shown with how far they have come."""
