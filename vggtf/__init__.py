"""The VGG paper (Simonyan & Zisserman, ICLR 2015) as a working TensorFlow system.

Importing this package imports nothing else: TensorFlow takes seconds to load, and the command lines
answer `--help`, and the Beam workers run, without it.
"""

__version__ = "0.1.0"
