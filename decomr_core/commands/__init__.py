"""What the commands of `decomr` do: predict, bench, doctor, and those on bodies and UV maps."""
