"""Only what pyproject.toml cannot say: Resources/ lies beside the package in the source and inside it when installed."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["MedCLIPSAMLib*"]), "MedCLIPSAMLib.Resources"],
    package_dir={"MedCLIPSAMLib.Resources": "Resources"},
)
