"""What rendered people wear."""
