"""Converts motion files (BVH, ASF with AMC) to poses of the body."""
