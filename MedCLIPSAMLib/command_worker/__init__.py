"""A process that runs a user's command lines with loaded models; its clients need only the standard library."""
