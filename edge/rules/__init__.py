"""Rules: declared conditions over what devices say, and what they do. Pure: a sample or a time in, effects out."""
