"""What a training step computes, free of any trainer: samples, loss, optimiser, precision, and batches made ahead."""
