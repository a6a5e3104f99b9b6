"""The only door to Captum: what each unit of an input (a word, a patch) adds to a model's score. Importing it loads no torch."""
