"""Recordings: writing, reading, copying, reports and videos."""
