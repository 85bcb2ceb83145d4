"""What the network should say about a person: IUV images, meshes, weights."""
