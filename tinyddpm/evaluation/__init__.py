"""Evaluation: what the samples of a model are worth."""
