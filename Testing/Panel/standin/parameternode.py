"""`slicer.parameterNodeWrapper`: typed access to the parameters in a vtkMRMLScriptedModuleNode."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

import slicer
import vtk
from PySide6 import QtCore

from . import parametertypes
from .parametergui import Connector
from .parametertypes import Parameter
from .proxy import Proxy, unwrap, wrap

PROPERTY = "SlicerParameterName"


class _Wrapper:
    """The methods of every wrapped class. A name that is no parameter is an error, also when it is written."""

    allParameters: dict[str, Parameter]

    def __init__(self, parameterNode, prefix: str | None = None) -> None:
        if prefix:
            raise NotImplementedError("the stand-in has no prefixes of parameters")
        if parameterNode is None or not parameterNode.IsA("vtkMRMLScriptedModuleNode"):
            raise TypeError(f"no vtkMRMLScriptedModuleNode: {parameterNode!r}")
        set_ = object.__setattr__
        set_(self, "parameterNode", parameterNode)
        set_(self, "_guis", {})
        set_(self, "_updating", False)
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write(parameterNode, parameter.default)

    def __getattr__(self, name: str) -> Any:
        if name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")
        return self.allParameters[name].read(self.parameterNode)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")
        self.allParameters[name].write(self.parameterNode, value)

    def _parameter(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}; there are {list(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        return self._parameter(name).read(self.parameterNode)

    def setValue(self, name: str, value: Any) -> None:
        self._parameter(name).write(self.parameterNode, value)

    def default(self, name: str) -> parametertypes.Default:
        return parametertypes.Default(self._parameter(name).default)

    def dataType(self, name: str) -> Any:
        return self._parameter(name).annotation

    def isCached(self, name: str) -> bool:
        """What the real wrapper keeps beside the node; here everything is read from the node."""
        return self._parameter(name).element is None

    def AddObserver(self, event, callback, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> int:
        return self.parameterNode.EndModify(wasModified)

    def Modified(self) -> None:
        self.parameterNode.Modified()

    def connectGui(self, gui) -> int:
        """Connect the widgets with the property SlicerParameterName.

        Args:
            gui: a widget, or an object whose attributes are widgets (`childWidgetVariables`).
        """
        if isinstance(gui, Proxy):
            widgets = [wrap(each) for each in unwrap(gui).findChildren(QtCore.QObject)]
        else:
            widgets = list(vars(gui).values())
        named = {each.property(PROPERTY): each for each in widgets}
        return self.connectParametersToGui({name: each for name, each in named.items() if name})

    def connectParametersToGui(self, mapping: Mapping[str, Proxy]) -> int:
        """Connect parameters to widgets, in both directions; the widgets show the parameters at once."""
        connectors = {name: Connector(widget, self._parameter(name)) for name, widget in mapping.items()}
        tag = max(self._guis, default=-1) + 1
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(lambda name=name, connector=connector: self._fromWidget(name, connector))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_event: self._toWidgets(connectors))
        self._guis[tag] = connectors, observer
        return tag

    def disconnectGui(self, tag: int) -> None:
        """Undo `connectGui`."""
        connectors, observer = self._guis.pop(tag)
        self.RemoveObserver(observer)
        for connector in connectors.values():
            connector.disconnect()

    def _fromWidget(self, name: str, connector: Connector) -> None:
        if not self._updating:
            self.setValue(name, connector.read())

    def _toWidgets(self, connectors: dict[str, Connector]) -> None:
        if self._updating:
            return
        object.__setattr__(self, "_updating", True)
        try:
            for name, connector in connectors.items():
                connector.write(self.getValue(name))
        finally:
            object.__setattr__(self, "_updating", False)


def parameterNodeWrapper(cls: type | None = None):
    """Class decorator: the annotated fields become typed parameters of the node given to the constructor."""
    if cls is None:
        return parameterNodeWrapper
    hints = typing.get_type_hints(cls, vars(sys.modules[cls.__module__]), include_extras=True)
    parameters = {name: Parameter(name, hint, vars(cls).get(name)) for name, hint in hints.items()}
    reserved = [name for name in parameters if hasattr(_Wrapper, name)]
    if reserved:
        raise ValueError(f"Cannot use reserved names {reserved} in a parameterNodeWrapper")
    own = {name: value for name, value in vars(cls).items() if callable(value) and not name.startswith("__")}
    names = {"allParameters": parameters, "__doc__": cls.__doc__, "__module__": cls.__module__}
    return type(cls.__name__, (_Wrapper,), own | names)


def install() -> None:
    """Put it where modules look for it."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.parameterNodeWrapper = parameterNodeWrapper
    module.SlicerParameterNamePropertyName = PROPERTY
    module.isParameterNodeWrapper = lambda value: (
        isinstance(value, _Wrapper) or (isinstance(value, type) and issubclass(value, _Wrapper))
    )
    for name in ("Default", "Choice", "WithinRange", "Minimum", "Maximum", "Decimals", "SingleStep"):
        setattr(module, name, getattr(parametertypes, name))
    sys.modules[module.__name__] = slicer.parameterNodeWrapper = module
