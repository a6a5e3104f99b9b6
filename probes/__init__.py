"""Probes ask one question each of a subject. See `probes.probe` for the two steps, `probes.registry` for the list."""
