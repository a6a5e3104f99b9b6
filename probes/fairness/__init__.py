"""Whom does it serve worse?"""
