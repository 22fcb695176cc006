"""Who is at the cabinet: one-time codes, sessions and the log of visits."""
