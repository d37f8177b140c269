"""The imperative shell: it waits, and between two waits it asks the core what to do."""
