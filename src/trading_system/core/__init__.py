"""Decisions: pure folds over facts. Nothing here waits, reads a clock or rolls dice."""
