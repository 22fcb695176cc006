"""Log, views and records in memory: fakes for tests, which pass the same conformance suites."""
