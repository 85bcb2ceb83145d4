"""What the node takes in: images and what belongs to each of them."""
