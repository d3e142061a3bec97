"""A process that runs command lines of the same user with the models loaded; its clients need the standard library."""
