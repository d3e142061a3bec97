"""A process that runs command lines of one user with the models loaded; its clients need only the standard library."""
