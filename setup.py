"""Only what pyproject.toml cannot say: Resources/ lies beside the package in the source and inside it installed."""

from setuptools import find_packages, setup

RESOURCES = "MedCLIPSAMLib.Resources"

setup(
    packages=[*find_packages(include=["MedCLIPSAMLib*"]), RESOURCES],
    package_dir={RESOURCES: "Resources"},
)
