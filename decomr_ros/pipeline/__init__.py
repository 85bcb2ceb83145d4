"""From images to meshes: the mailbox, the stages, the detector beside them."""
