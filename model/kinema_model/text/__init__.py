"""The text encoder, its weights, and the words that a model was trained on."""
