"""Voices that users bring: what they consist of, where they are kept, and who makes them.

Knows no torch, no wire and no model: what is in a voice is its family's affair.
"""
