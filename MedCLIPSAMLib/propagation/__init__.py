"""From masks on the key slices of a volume to masks on their neighbors."""
