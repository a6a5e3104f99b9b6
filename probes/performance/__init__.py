"""How well does it do its task?"""
