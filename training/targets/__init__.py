"""What the network is to answer for a person: IUV images, meshes, and their weights."""
