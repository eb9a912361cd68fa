"""Reports: one self-contained HTML page, readable without a network."""
