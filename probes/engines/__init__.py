"""The one door to each engine (Captum, TextAttack, fairlearn); engines are imported inside functions only."""
