"""VideoModel: which digest is served, by how many servers, and the objects that run them."""
