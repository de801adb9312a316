"""What every part shares: errors, reading configuration, atomic files, progress."""
