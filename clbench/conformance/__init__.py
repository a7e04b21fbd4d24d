"""The checks behind ``clbench check`` and ``clbench.testing``."""
