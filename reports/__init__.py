"""The record of an audit and its renderings. Imports nothing of the probes but their evidence, and no torch."""
