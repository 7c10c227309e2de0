"""The control plane: a thin shell around a pure core; never imports torch."""
