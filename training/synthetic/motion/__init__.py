"""Motion files (BVH, ASF with AMC) as poses of the body."""
