"""Images in, TFRecord shards out: the Beam converter, its check, and the data set of digits.

Nothing here imports TensorFlow: every Beam worker imports these modules, and TensorFlow would cost
each of them seconds and 600 MB. Nothing reads gin either: bindings do not travel to workers, so
what a worker needs is in the frozen `options.Options` and in the source itself.
"""
