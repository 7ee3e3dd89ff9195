"""Protocols of the paper's section 3.2, each wrapping a model."""
