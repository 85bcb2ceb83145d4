"""People over time: detections, motion, identities, smoothing."""
