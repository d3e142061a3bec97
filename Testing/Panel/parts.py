"""Helpers for the tests of the stand-in: a small .ui file and nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import slicer.util

UI = """<ui version="4.0"><class>Panel</class><widget class="qMRMLWidget" name="Panel"><layout class="QVBoxLayout">
<item><widget class="ctkCollapsibleButton" name="section"><property name="text"><string>Input</string></property>
 <layout class="QFormLayout"><item row="0" column="0"><widget class="QLabel" name="label">
  <property name="text"><string>Volume:</string></property></widget></item>
 <item row="0" column="1"><widget class="qMRMLNodeComboBox" name="volume">
  <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
  <property name="noneEnabled"><bool>true</bool></property>
  <property name="SlicerParameterName" stdset="0"><string>volume</string></property></widget></item>
 <item row="1" column="1"><widget class="QLineEdit" name="prompt">
  <property name="SlicerParameterName" stdset="0"><string>prompt</string></property></widget></item>
 <item row="2" column="1"><widget class="ctkSliderWidget" name="level">
  <property name="SlicerParameterName" stdset="0"><string>level</string></property>
  <property name="decimals"><number>2</number></property><property name="singleStep"><double>0.05</double></property>
  <property name="suffix"><string> mm</string></property></widget></item>
 <item row="3" column="1"><widget class="QComboBox" name="method">
  <property name="SlicerParameterName" stdset="0"><string>method</string></property></widget></item>
 <item row="4" column="1"><widget class="QSpinBox" name="count">
  <property name="SlicerParameterName" stdset="0"><string>count</string></property></widget></item>
 <item row="5" column="1"><widget class="QCheckBox" name="shown">
  <property name="SlicerParameterName" stdset="0"><string>shown</string></property></widget></item>
 <item row="6" column="1"><widget class="ctkPathLineEdit" name="folder">
  <property name="filters"><set>ctkPathLineEdit::Dirs|ctkPathLineEdit::Writable</set></property>
  <property name="SlicerParameterName" stdset="0"><string>folder</string></property></widget></item>
 </layout></widget></item>
<item><widget class="ctkCollapsibleButton" name="closed"><property name="text"><string>Settings</string></property>
 <property name="collapsed"><bool>true</bool></property><layout class="QVBoxLayout"><item>
 <widget class="QPushButton" name="inside"><property name="text"><string>Inside</string></property></widget></item>
 </layout></widget></item>
<item><widget class="qMRMLSegmentEditorWidget" name="editor"/></item>
</layout></widget>
<connections><connection><sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
<receiver>volume</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot></connection></connections></ui>"""


def load(folder: Path, ui: str = UI):
    """Make a panel from the text of a .ui file."""
    path = folder / "panel.ui"
    path.write_text(ui)
    return slicer.util.loadUI(str(path))


def volume(name: str):
    """Add an empty volume to the scene."""
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)


def segmentation(name: str, *segments: str):
    """Add a segmentation with empty segments to the scene."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    for segmentName in segments:
        node.GetSegmentation().AddEmptySegment(segmentName, segmentName)
    return node


def shown_volume(name: str = "head"):
    """Four axial slices of 16 x 12 voxels, 2 mm apart from z = 0, shown in the Red view at the second."""
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.arange(4 * 12 * 16, dtype=np.int16).reshape(4, 12, 16))
    node.SetSpacing(1, 1, 2)
    node.CreateDefaultDisplayNodes()
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceCompositeNodeRed").SetBackgroundVolumeID(node.GetID())
    move_to(1)
    return node


def move_to(k: int) -> None:
    """Move the Red view to a slice of `shown_volume`, or out of the volume."""
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").SetSliceOffset(2.0 * k)
