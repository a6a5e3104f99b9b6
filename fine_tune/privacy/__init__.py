"""Training under differential privacy: settings, accounting, clipped gradients, the training loop and the ledger. The only door to opacus."""
