"""Pictures: grids of images, curves, and all that a run draws."""
