"""The nouns everybody shares: plain frozen values, no clock, no network, no file."""
