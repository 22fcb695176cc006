"""Up and down: batches to the city, orders from it, over HTTP that the node opens."""
