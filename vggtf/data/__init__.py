"""Shards on disk to batches: opening a converted set, the training view, the two pipelines."""
