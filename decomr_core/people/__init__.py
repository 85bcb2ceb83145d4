"""People over time: detections, motion, identities, smooth meshes."""
