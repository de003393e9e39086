"""Runs: reading a record back, exactly, and why an entry did not move."""
