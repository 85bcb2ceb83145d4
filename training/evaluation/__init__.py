"""Scores: test sets, protocols, reports and contact sheets."""
