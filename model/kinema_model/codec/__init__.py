"""Between pixels and what the network sees: the codec, and latents as parts of a pack."""
