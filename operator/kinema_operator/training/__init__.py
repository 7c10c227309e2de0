"""VideoModelTraining: a pure plan, what it looks at, the objects it makes, and what it does in the object store."""
