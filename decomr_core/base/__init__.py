"""What every part uses: structures, configuration, files, types of command lines."""
