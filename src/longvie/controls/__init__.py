"""Controls: one file each, from a source to pictures that a branch of the transformer takes."""

from longvie.controls import depth, segmentation, sketch, tracks
from longvie.controls.control import (
    DENSE_KINDS,
    Carried,
    Control,
    Scale,
    encode_span,
    encode_spans,
    get,
    names,
    register,
    rendered_spans,
)
from longvie.controls.signals import Align, Joined, LoadReport, Signal, align_signal

__all__ = [
    "DENSE_KINDS",
    "Align",
    "Carried",
    "Control",
    "Joined",
    "LoadReport",
    "Scale",
    "Signal",
    "align_signal",
    "depth",
    "encode_span",
    "encode_spans",
    "get",
    "names",
    "register",
    "rendered_spans",
    "segmentation",
    "sketch",
    "tracks",
]
