"""The loop of steps and evaluation: order of batches, optimizers, and checks of what they give."""
