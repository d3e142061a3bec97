"""Only what pyproject.toml cannot say: Resources/ lies beside the package in the source and inside it installed."""

from setuptools import find_namespace_packages, find_packages, setup

RESOURCES = "MedCLIPSAMLib.Resources"

setup(
    packages=[
        *find_packages(include=["MedCLIPSAMLib*"]),
        RESOURCES,
        *(f"{RESOURCES}.{name}" for name in find_namespace_packages("Resources")),
    ],
    package_dir={RESOURCES: "Resources"},
)
