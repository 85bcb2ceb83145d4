"""What every program of ours shares: command line, log, signals, child processes."""
