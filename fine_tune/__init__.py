"""Makes the thing that is examined: data with roles, checkpoints, tasks, recipes and training."""
