"""What a model hears of a prompt: the encoder, its weights, and the words that the model knows."""
