"""The machinery of learn.py: lessons from the package's source, and a check that gives hints."""
