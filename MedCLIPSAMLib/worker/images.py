"""The image stacks that a worker has received, by key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from .fields import read_text_field
from .protocol import Message

MAX_IMAGES = 4
"""Maximum number of stacks kept; beyond it the least recently used one is dropped."""

MAX_SLICES = 10_000
"""Maximum number of slices of a stack that is sent slice by slice."""
MAX_BYTES = 16 << 30
"""Maximum bytes of such a stack, ten times those of a whole-body CT."""

MAX_NAMED = 5
"""Maximum number of missing slices that an error names."""


class ImageStack:
    """Images of one size as the slices of a pipeline; see `pipeline.segment_volume.Slices`.

    Args:
        key: the client's name for the stack.
        images: uint8 (N, H, W, 3).
        received: (N,) bool, which of the slices have been received.
    """

    def __init__(self, key: str, images: np.ndarray, received: np.ndarray) -> None:
        self._key, self._received = key, received
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

    def require(self, numbers: Sequence[int]) -> None:
        """Refuse slices that are outside of the stack, named twice, or not yet received.

        Raises:
            InputError: there are such slices, which are named.
        """
        for number in numbers:
            if not 0 <= number < len(self):
                raise InputError(
                    f"Expected a slice from 0 to {len(self) - 1}, got {number}.", "Give a number in this range."
                )
        if len(set(numbers)) < len(numbers):
            raise InputError(f"Expected each slice once, got {', '.join(map(str, numbers))}.", "Send each number once.")
        if missing := [str(number) for number in numbers if not self._received[number]]:
            rest = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
            named = ", ".join(missing[:MAX_NAMED]) + rest
            raise InputError(f"Slices of '{self._key}' were not sent: {named}.", "Send them first.")

    def put(self, number: int, image: np.ndarray) -> None:
        """Store a received slice."""
        self.images[number], self._received[number] = image, True


class ReceivedImages:
    """The images received from the client: several stacks by key, and one large stack that is sent slice by slice."""

    def __init__(self) -> None:
        self._stacks: OrderedDict[str, ImageStack] = OrderedDict()
        self._large: dict[str, ImageStack] = {}

    def receive(self, message: Message) -> int:
        """Store the images of a message, and return the number of slices of their stack.

        Stacks that the field "keep" does not name are dropped, so the client knows which ones the worker has.

        Raises:
            InputError: the message has no valid images, or a slice does not fit its stack.
        """
        key, images = read_text_field(message, "key"), message.arrays.get("images")
        array = images[None] if images is not None and images.ndim == 3 else images
        if array is None or array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or 0 in array.shape:
            got = "nothing" if images is None else f"{images.dtype} {images.shape}"
            raise InputError(
                f"Images '{key}': expected uint8 (H, W, 3) or (N, H, W, 3), got {got}.", "Send RGB images of 8 bits."
            )
        number, count = message.fields.get("slice"), message.fields.get("of")
        if number is not None or count is not None:
            self._large = {key: self._with_slice(key, array, number, count)}  # apart from those limited by MAX_IMAGES
            self._stacks.pop(key, None)
            return len(self._large[key])
        self._large.pop(key, None)
        self._stacks[key] = ImageStack(key, array, np.ones(len(array), bool))
        self._stacks.move_to_end(key)
        keep = message.fields.get("keep")
        if keep is not None:
            for other in [other for other in self._stacks if other != key and other not in keep]:
                del self._stacks[other]
        while len(self._stacks) > MAX_IMAGES:
            self._stacks.popitem(last=False)
        return len(array)

    def find(self, message: Message) -> ImageStack:
        """Find the stack that a message refers to.

        Raises:
            InputError: the stack was never sent, or was dropped.
        """
        key = read_text_field(message, "image")
        if key in self._large:
            return self._large[key]
        if key not in self._stacks:
            raise InputError(f"The worker has no images '{key}'.", "Send them first.")
        self._stacks.move_to_end(key)
        return self._stacks[key]

    def _with_slice(self, key: str, image: np.ndarray, number: int | None, count: int | None) -> ImageStack:
        """Store a slice in the stack with that key, which is created if it is new, and return the stack."""
        if count is None or not 0 < count <= MAX_SLICES or len(image) != 1:
            raise InputError(f"Expected 1 to {MAX_SLICES} slices of a stack, got {count}.", "Send each slice alone.")
        if number is None or not 0 <= number < count:
            raise InputError(f"Expected a slice from 0 to {count - 1}, got {number}.", "Give a number in this range.")
        size = count * image[0].nbytes
        if size > MAX_BYTES:
            raise InputError(
                f"A stack of {count} images of {image.shape[2]} x {image.shape[1]} would be {size / 1e9:.0f} GB.",
                f"Send fewer or smaller slices: at most {MAX_BYTES / 1e9:.0f} GB.",
            )
        stack = self._large.get(key)
        if stack is None:
            stack = ImageStack(key, np.zeros((count, *image.shape[1:]), np.uint8), np.zeros(count, bool))
        if stack.images.shape != (count, *image.shape[1:]):
            one_of = lambda count, height, width, channels: f"one of {count} slices of {width} x {height}"
            raise InputError(
                f"Slice {number} of '{key}': expected {one_of(*stack.images.shape)}, "
                f"got {one_of(count, *image.shape[1:])}.",
                "Use another key for another stack.",
            )
        stack.put(number, image[0])
        return stack
