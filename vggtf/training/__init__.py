"""The loop: strategy, step, checkpoints, hooks."""
