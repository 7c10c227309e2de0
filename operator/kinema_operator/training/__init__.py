"""VideoModelTraining: its observation, its pure plan, the objects it creates, and its effects on the object store."""
