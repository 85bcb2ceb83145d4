"""Training targets of a person: IUV images, meshes, and their weights."""
