"""One file per public data set, and the formats that they share."""
