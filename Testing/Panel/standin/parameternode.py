"""`slicer.parameterNodeWrapper`: typed access to the parameters in a vtkMRMLScriptedModuleNode.

It imitates Slicer's Base/Python/slicer/parameterNodeWrapper/wrapper.py of 5.8. `connectGui` is not imitated, because it
returns no tag in that version; `connectParametersToGui` returns one in every version.
"""

from __future__ import annotations

import sys
import types
import weakref
from collections.abc import Mapping
from typing import Any

import slicer
import slicer.util
import vtk

from . import parametertypes
from .parametergui import GuiConnector, createGuiConnector
from .parametertypes import Member, dataType, members, own


class _Cell:
    """A parameter in a node. Its value is cached, and read again after the node has changed."""

    def __init__(self, member: Member, node: Any, name: str) -> None:
        self._serializer, self._default = member.serializer, member.default
        self._node, self._name, self._writing = node, name, False
        self._value = self.fetch()
        me = weakref.ref(self)
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_event: me()._modified())

    def __del__(self) -> None:
        if hasattr(self, "_tag"):
            self._node.RemoveObserver(self._tag)

    def _modified(self) -> None:
        if not self._writing:
            self._value = self.fetch()

    def fetch(self) -> Any:
        """Return the value in the node; write the default if there is none, such as after a scene was closed."""
        if not self._serializer.isIn(self._node, self._name):
            self._serializer.write(self._node, self._name, self._default.value)
        return self._serializer.read(self._node, self._name)

    def read(self) -> Any:
        return self._value

    def write(self, value: Any) -> None:
        self._writing = True
        try:
            with slicer.util.NodeModify(self._node):
                self._serializer.write(self._node, self._name, value)
                self._value = self.fetch()
        finally:
            self._writing = False


class _Wrapper:
    """The methods of every wrapped class. Reading or writing a name that is not a parameter is an error."""

    allParameters: dict[str, Member]

    def __init__(self, parameterNode) -> None:
        if parameterNode is None or not parameterNode.IsA("vtkMRMLScriptedModuleNode"):
            raise TypeError(f"Expected a vtkMRMLScriptedModuleNode, got {parameterNode!r}")
        put = object.__setattr__
        put(self, "parameterNode", parameterNode)
        put(self, "_guis", {})
        put(self, "_nextTag", 0)
        put(self, "_updating", False)
        put(self, "_cells", {name: _Cell(member, parameterNode, name) for name, member in self.allParameters.items()})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")
        return self._cells[name].read()

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")
        self._cells[name].write(value)

    def getValue(self, name: str) -> Any:
        """Return a value by its name, with dots for members of packs."""
        dataType(type(self), name)
        top, _dot, rest = name.partition(".")
        value = self._cells[top].read()
        return value.getValue(rest) if rest else value

    def setValue(self, name: str, value: Any) -> None:
        dataType(type(self), name)
        top, _dot, rest = name.partition(".")
        if rest:
            self._cells[top].read().setValue(rest, value)
        else:
            self._cells[top].write(value)

    def default(self, name: str) -> parametertypes.Default:
        dataType(type(self), name)
        return self.allParameters[name].default

    def connectParametersToGui(self, mapping: Mapping[str, Any]) -> int:
        """Connect parameters to widgets or connectors, in both directions; the widgets show the parameters at once.

        Returns:
            A tag for `disconnectGui`.
        """
        for name in mapping:
            dataType(type(self), name)
        connectors = {
            name: connector
            if isinstance(connector, GuiConnector)
            else createGuiConnector(connector, dataType(type(self), name))
            for name, connector in mapping.items()
        }
        tag = self._nextTag
        object.__setattr__(self, "_nextTag", tag + 1)
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._fromWidget(name, connector))
        self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_event: self._toWidgets())
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        """Undo `connectParametersToGui`; an unknown tag is ignored."""
        for connector in self._guis.pop(tag, {}).values():
            connector.onChanged(None)

    def _fromWidget(self, name: str, connector: GuiConnector) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            if not self._updating:
                self.setValue(name, connector.read())

    def _toWidgets(self) -> None:
        if self._updating:
            return
        object.__setattr__(self, "_updating", True)
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            object.__setattr__(self, "_updating", False)


def parameterNodeWrapper(cls: type) -> type:
    """Class decorator: the annotated fields become typed parameters of the node given to the constructor."""
    found = members(cls)
    reserved = [name for name in found if hasattr(_Wrapper, name)]
    if reserved:
        raise ValueError(f"Cannot use the reserved names {reserved} in a parameterNodeWrapper")
    names = {"allParameters": found, "__doc__": cls.__doc__, "__module__": cls.__module__}
    return type(cls.__name__, (_Wrapper,), own(cls) | names)


def install() -> None:
    """Put it where modules look for it."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.SlicerParameterNamePropertyName = "SlicerParameterName"
    module.parameterNodeWrapper, module.GuiConnector = parameterNodeWrapper, GuiConnector
    for name in ("Default", "WithinRange", "parameterPack", "isParameterPack"):
        setattr(module, name, getattr(parametertypes, name))
    module.unannotatedType = lambda kind: parametertypes.split(kind)[0]
    sys.modules[module.__name__] = slicer.parameterNodeWrapper = module
