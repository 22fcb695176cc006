"""The log and its views in memory: fakes for tests, which pass the same conformance suites."""
