"""What recordings look like on disk: how long they really are, and how to read them."""
