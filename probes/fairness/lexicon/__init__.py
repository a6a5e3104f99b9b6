"""Lists of words that say who is meant: one YAML file a language. `probes.fairness.wordlists` reads them."""
