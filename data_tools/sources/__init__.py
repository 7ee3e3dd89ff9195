"""Where images come from: one module a source, each with the two functions of `source.py`."""
