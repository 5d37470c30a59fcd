"""What is known of stripes that fresh networks find (docs/experiments.md, 5 to 13).

For those drawn by rule (protect.methods.grating) and those that a generator places (model.noise_filters).
"""

CYCLES, CYCLES_FOR_SMALL, FINE = 16, 32, 40
"""Per longer side of the image: of colours, of colours where objects are small, and of brightness."""
SMALL = 0.08
"""Of the longer side of the image: objects whose area has a smaller root are small."""
MAGENTA, RED, YELLOW, WHITE = (1, -1, 1), (1, -1, -1), (1, 1, -1), (1, 1, 1)
"""Signs of red, green and blue; the opposites are green, cyan, blue and black."""
