"""The doors to tracking servers: one module each, which alone imports its client."""
