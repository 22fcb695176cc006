"""All that lies in SQLite: the only room that imports sqlite3 or sees a connection."""
