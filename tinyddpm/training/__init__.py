"""Training: the loop, the workers, a run and its folder, and what a trained model can be asked."""
