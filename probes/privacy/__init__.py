"""What does it give away of its training data?"""
