"""Strategies: what they are told, what they may know, what they may wish for; and a few small honest ones."""
