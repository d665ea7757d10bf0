"""Learn backprop: the tape, one file per layer, blocks, the U-Net, the optimiser, the check."""
