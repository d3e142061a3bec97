"""Files of any kind: atomic writes, locks, checksums, and checked JSON."""
