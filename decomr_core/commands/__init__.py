"""What the commands of `decomr` do."""
