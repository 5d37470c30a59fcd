"""The 19 classes of Cityscapes that are evaluated (Cordts et al., CVPR 2016), by the number in labelIds files."""

CLASSES = {
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}

FIRST_THING = 24
"""Classes from here on are countable objects."""
