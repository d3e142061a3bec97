"""The stacks of images that a worker was sent, by key."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from ..errors import InputError
from .fields import text_of
from .protocol import Message

MAX_IMAGES = 4
"""Maximum number of stacks that are kept; the least recently used one is dropped."""

MAX_SLICES = 10_000
"""Maximum slices of a stack that is sent slice by slice."""
MAX_BYTES = 16 << 30
"""Maximum bytes of such a stack; a CT of the whole body has a tenth of it."""


class ImageStack:
    """Images of one size, uint8 (N, H, W, 3), as the slices of a pipeline; see `pipeline.segment_volume.Slices`."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def image(self, k: int) -> np.ndarray:
        """Return the image of slice k."""
        return self.images[k]

    @property
    def shape(self) -> tuple[int, int]:
        """Size (H, W) of an image."""
        return self.images.shape[1], self.images.shape[2]


class ReceivedImages:
    """The images that the client sent: some stacks by key, and one large stack that is sent slice by slice."""

    def __init__(self) -> None:
        self._stacks: OrderedDict[str, np.ndarray] = OrderedDict()
        self._large: dict[str, np.ndarray] = {}

    def receive(self, message: Message) -> int:
        """Store the images of a message, and return the number of slices of their stack.

        Stacks that "keep" of the message does not name are dropped, so that the client knows which are there.

        Raises:
            InputError: no images, or a slice that does not fit its stack.
        """
        key, images = text_of(message, "key"), message.arrays.get("images")
        stack = images[None] if images is not None and images.ndim == 3 else images
        if stack is None or stack.ndim != 4 or stack.shape[3] != 3 or stack.dtype != np.uint8 or 0 in stack.shape:
            got = "nothing" if images is None else f"{images.dtype} {images.shape}"
            raise InputError(
                f"Images '{key}': expected uint8 (H, W, 3) or (N, H, W, 3), got {got}.", "Send RGB images of 8 bits."
            )
        if message.fields.get("of") is not None:
            stack = self._with_slice(key, stack, message.fields.get("slice"), message.fields["of"])
            self._large = {key: stack}  # besides the images that the client counts on
            return len(stack)
        self._stacks[key] = stack
        self._stacks.move_to_end(key)
        keep = message.fields.get("keep")
        if isinstance(keep, list):
            for other in [other for other in self._stacks if other != key and other not in keep]:
                del self._stacks[other]
        while len(self._stacks) > MAX_IMAGES:
            self._stacks.popitem(last=False)
        return len(stack)

    def find(self, message: Message) -> ImageStack:
        """Find the stack that a message is about.

        Raises:
            InputError: it was never sent, or was dropped.
        """
        key = text_of(message, "image")
        if key in self._large:
            return ImageStack(self._large[key])
        if key not in self._stacks:
            raise InputError(f"The worker has no images '{key}'.", "Send them first.")
        self._stacks.move_to_end(key)
        return ImageStack(self._stacks[key])

    def _with_slice(self, key: str, image: np.ndarray, number: object, count: object) -> np.ndarray:
        """Store a slice in the stack of that name, which is sent slice by slice, and return the stack."""
        if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= MAX_SLICES or len(image) != 1:
            raise InputError(f"Expected 1 to {MAX_SLICES} slices of a stack, got {count!r}.", "Send each slice alone.")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < count:
            raise InputError(f"Expected a slice from 0 to {count - 1}, got {number!r}.", "Give a number in this range.")
        size = count * image[0].nbytes
        if size > MAX_BYTES:
            raise InputError(
                f"A stack of {count} images of {image.shape[2]} x {image.shape[1]} would be {size / 1e9:.0f} GB.",
                f"Send fewer slices, or smaller ones: {MAX_BYTES / 1e9:.0f} GB at most.",
            )
        stack = self._large.get(key)
        if stack is None or stack.shape != (count, *image.shape[1:]):
            stack = np.zeros((count, *image.shape[1:]), np.uint8)
        stack[number] = image[0]
        return stack
