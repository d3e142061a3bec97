"""Kill and starve the program and feed it nonsense, to check that nothing is lost: `python -m Testing.torture`."""
