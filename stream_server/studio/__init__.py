"""Where users' voices are made and lent while a server runs: the process that makes them, those that are kept, guests.

Knows the engine by its switchboard and the families' networks not at all: they are loaded elsewhere.
"""
