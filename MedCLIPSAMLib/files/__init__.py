"""File handling: atomic writes, locks, checksums, and validated JSON and tables."""
