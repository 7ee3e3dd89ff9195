"""Measure predictors on whole splits."""
