"""The only door to TextAttack: loading it safely, its recipes, many attacks at once, and the model as it sees it."""
