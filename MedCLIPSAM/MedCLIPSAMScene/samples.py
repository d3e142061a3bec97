"""The shipped images in Slicer's Sample Data module, which are loaded from disk."""

from __future__ import annotations

from pathlib import Path

from MedCLIPSAMLib.resources import resource_path

SAMPLES = {
    "MedCLIPSAMBreastUS": ("breast_us.png", "Breast ultrasound phantom", "breast tumor"),
    "MedCLIPSAMBrainMRI": ("brain_mri.dcm", "Brain MRI phantom", "brain tumor"),
    "MedCLIPSAMChestXray": ("chest_xray.png", "Chest X-ray phantom", "lungs"),
    "MedCLIPSAMLungCT": ("lung_ct.nii.gz", "Lung CT phantom", "lung nodule"),
}
"""Name of the sample -> its file in Resources/samples, the name of its node, and a suitable prompt."""

SAMPLE = "MedCLIPSAM.Sample"
"""Node attribute of a loaded sample: its name."""

ICONS = Path(__file__).resolve().parents[1] / "Resources" / "Icons"


def registerSampleData() -> None:
    """Add the category "MedCLIPSAM" to the Sample Data module."""
    from SampleData import SampleDataLogic

    for sample, (file, name, _prompt) in SAMPLES.items():
        thumbnail = ICONS / f"{Path(file).name.split('.')[0]}.png"
        SampleDataLogic.registerCustomSampleDataSource(
            category="MedCLIPSAM",
            sampleName=name,  # on the button
            uris=resource_path(f"samples/{file}").as_uri(),
            fileNames=file,
            nodeNames=name,
            thumbnailFileName=str(thumbnail),
            customDownloader=lambda _source, sample=sample: [loadSample(sample)],
        )


def loadSample(sample: str):
    """Load a sample into the scene and return its volume node."""
    import slicer.util

    file, name, _prompt = SAMPLES[sample]
    properties = {"name": name, "singleFile": True}
    volume = slicer.util.loadVolume(str(resource_path(f"samples/{file}")), properties)
    volume.SetAttribute(SAMPLE, sample)
    return volume


def isSample(volumeNode) -> bool:
    """Return whether a volume is one of the shipped images, which are of the kind that the demo models know."""
    return volumeNode.GetAttribute(SAMPLE) in SAMPLES
