"""Nets, one family a file; only gin files and tests import them."""
