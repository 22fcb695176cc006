"""The node in the street cabinet: poll, decide, keep, push. Imports wire and drivers."""
