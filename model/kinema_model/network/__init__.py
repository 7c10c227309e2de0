"""The diffusion transformer: one architecture from a toy to the published Wan shapes, on packed sequences."""
