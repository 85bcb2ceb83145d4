"""Shared parts of the programs: command line, log, signals, child processes."""
