"""Translations at the edge: one folder a broker, none knows another."""
