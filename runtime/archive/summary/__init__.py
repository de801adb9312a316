"""The page that shows what a scan has heard, in one file that needs no network."""
