"""Webhooks: the feed, posted to addresses that the administrator's file names. A client of the feed like any other."""
