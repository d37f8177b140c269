"""How much to trade, whether a trade is worth its shape, and the odds of the goal. Floats live here; a size leaves as a Decimal on the lot grid."""
