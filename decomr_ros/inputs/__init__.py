"""The node's inputs: images and the messages that belong to each of them."""
