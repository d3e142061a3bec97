"""The work of the commands from input files to output files, independent of the terminal."""
