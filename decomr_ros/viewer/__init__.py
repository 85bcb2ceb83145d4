"""The web page of `decomr view`."""
