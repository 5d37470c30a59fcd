"""Universal unlearnable examples for image segmentation: the library behind the pipeline."""

__version__ = "0.2.4"
