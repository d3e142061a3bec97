"""Kill, starve and feed nonsense to the program, and look whether anything is lost: `python -m Testing.torture`."""
