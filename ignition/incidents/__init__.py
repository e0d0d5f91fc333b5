"""Incidents of a run: what each leaves, and how it is run again."""
