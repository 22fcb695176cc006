"""Alarms: those of the nodes and the aggregator's own."""
