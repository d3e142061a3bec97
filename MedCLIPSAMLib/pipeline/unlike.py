"""The words by which a note on an image unlike the training images is known."""

UNLIKE = "unlike what"
