"""Many recordings: find them, hear them on all cores or a cluster, keep and write what was heard."""
