"""What was heard, on disk."""
