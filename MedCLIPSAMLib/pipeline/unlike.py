"""The words that identify a note on an image unlike the training images."""

UNLIKE = "unlike what"
