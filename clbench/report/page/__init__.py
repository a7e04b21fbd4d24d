"""One page to read: a comparison of runs as a single HTML file that needs no network."""
