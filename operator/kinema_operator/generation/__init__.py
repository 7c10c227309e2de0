"""VideoGeneration: the queue, the attempts, and the one commit of a clip."""
