"""Real TCP on loopback, cut, stalled and flooded: one request per intent, and the truth afterwards."""
