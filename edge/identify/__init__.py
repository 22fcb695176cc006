"""Identify: what an unknown device is, by trying all profiles on what it says."""
