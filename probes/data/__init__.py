"""Is the material itself fit to train and judge a model?"""
