"""INT8 and accuracy: what a smaller, faster graph costs, measured on recordings."""
