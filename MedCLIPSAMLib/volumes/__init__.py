"""Images in, upright slices for the models, masks out on the source voxels."""

from MedCLIPSAMLib.volumes.geometry import Geometry
from MedCLIPSAMLib.volumes.read import read_volume
from MedCLIPSAMLib.volumes.segment import Segment
from MedCLIPSAMLib.volumes.segmentation import read_segmentation
from MedCLIPSAMLib.volumes.slices import SliceStack
from MedCLIPSAMLib.volumes.volume import Volume
from MedCLIPSAMLib.volumes.write import write_saliency, write_segmentation

__all__ = [
    "Geometry",
    "Segment",
    "SliceStack",
    "Volume",
    "read_segmentation",
    "read_volume",
    "write_saliency",
    "write_segmentation",
]
