"""History: what a point did in each minute, hour or day of a calendar, and what is kept folded for such questions."""
