"""Files of any kind: written whole or not at all, held by one run, checked before they are believed."""
