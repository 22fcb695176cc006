"""What several of ours need and no library has. Imports nothing of ours."""
