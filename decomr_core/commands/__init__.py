"""The commands of `decomr`: predict, bench, doctor, body and uv."""
