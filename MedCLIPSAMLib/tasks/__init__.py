"""From files to files: what the commands do, without a terminal."""
