"""The version that is written beside what it wrote."""

from importlib import metadata

try:
    VERSION = metadata.version("unwind")
except metadata.PackageNotFoundError:  # a checkout that is not installed
    VERSION = "0+unknown"
