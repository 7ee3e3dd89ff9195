"""Predictors to SavedModels."""
