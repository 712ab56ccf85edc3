"""The one native extension; everything else is declared in pyproject.toml.

TRACECODE_NATIVE=0 installs without compiling: `make build` compiles once, in place, afterwards.
"""

import os

from Cython.Build import cythonize
from setuptools import Extension, setup

native = Extension(
    "tracecode._native",
    sources=["native/_native.pyx"],
    language="c++",
    extra_compile_args=["-O2", "-std=c++17", "-msse4.2"],
    include_dirs=["native"],
)

setup(
    ext_modules=cythonize(
        [] if os.environ.get("TRACECODE_NATIVE") == "0" else [native],
        language_level=3,
        include_path=["native"],
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
        },
    )
)
