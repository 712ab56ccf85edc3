"""tracecode judges scans of Chinese drug traceability codes (药品追溯码) and keeps their ledger."""
