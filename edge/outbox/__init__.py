"""The outbox: what the node has accepted is there until the city has it. The only room that imports sqlite3."""
