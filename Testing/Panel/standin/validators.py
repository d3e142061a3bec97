"""Defaults and limits of parameters, as annotations.

As in Slicer's Base/Python/slicer/parameterNodeWrapper: validators.py and default.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


class Default:
    """The value that a parameter begins with; from a function when `generator` is given."""

    def __init__(self, value: Any = None, *, generator: Callable[[], Any] | None = None) -> None:
        self._value, self._generator = value, generator

    @property
    def value(self) -> Any:
        return self._generator() if self._generator else self._value


class Validator:
    """The base of what may stand in an annotation to refuse values."""

    def validate(self, value: Any) -> None:
        raise NotImplementedError


class Minimum(Validator):
    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: Any) -> None:
        if value < self.minimum:
            raise ValueError(f"Expected at least {self.minimum}, got {value}")


class Maximum(Validator):
    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: Any) -> None:
        if value > self.maximum:
            raise ValueError(f"Expected at most {self.maximum}, got {value}")


class WithinRange(Validator):
    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: Any) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Expected {self.minimum} to {self.maximum}, got {value}")


class Choice(Validator):
    def __init__(self, choices: Sequence[Any]) -> None:
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"Expected one of {self.choices}, got {value!r}")


class Exclude(Validator):
    def __init__(self, excludedValues: Sequence[Any]) -> None:
        self.excludedValues = excludedValues

    def validate(self, value: Any) -> None:
        if value in self.excludedValues:
            raise ValueError(f"Expected none of {self.excludedValues}, got {value!r}")


class NotNone(Validator):
    def validate(self, value: Any) -> None:
        if value is None:
            raise ValueError("Expected a value, got None")


class IsInstance(Validator):
    """None passes; NotNone is for that."""

    def __init__(self, classtype: Any) -> None:
        self.classtype = classtype

    def validate(self, value: Any) -> None:
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Expected {self.classtype}, got {value!r}")
