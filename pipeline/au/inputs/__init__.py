"""What a head reads of a frame: embeddings, blendshapes, the shape of the face, its skin."""
