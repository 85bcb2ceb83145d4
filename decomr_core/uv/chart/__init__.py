"""Makes the UV map of a body: its landmarks, its seams, and the flat half body. Offline."""
