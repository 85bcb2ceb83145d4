"""Recordings: writing, reading, copies, reports and videos."""
