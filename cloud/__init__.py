"""The aggregator: ingest, store, feed and API. Imports wire and nothing else of Lamplighter."""
