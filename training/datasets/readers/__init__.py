"""Readers of public data sets, one file each, and their shared file formats."""
