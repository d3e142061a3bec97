"""Only what pyproject.toml cannot say: which folder of the source becomes which package.

Resources/ lies beside MedCLIPSAMLib in the source and inside it installed. medclipsam lies in python/, since on a disk
that is blind to case its folder would be MedCLIPSAM/, the module of 3D Slicer.
"""

from setuptools import find_packages, setup

RESOURCES = "MedCLIPSAMLib.Resources"

setup(
    packages=[*find_packages(include=["MedCLIPSAMLib*"]), RESOURCES, "medclipsam"],
    package_dir={RESOURCES: "Resources", "medclipsam": "python/medclipsam"},
)
