"""Common modules: data structures, configuration, files, command line arguments."""
