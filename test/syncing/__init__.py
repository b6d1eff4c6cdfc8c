"""What test/sync.py is made of."""
