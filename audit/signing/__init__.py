"""Signatures of finished runs: keys in files, keyless signing through Sigstore, and what a reader may believe of either."""
