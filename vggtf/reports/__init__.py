"""results.jsonl to tables; no TensorFlow here."""
