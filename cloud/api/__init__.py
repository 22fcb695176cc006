"""What every route needs: the table of routes, JSON bodies, server-sent events, OpenAPI."""
