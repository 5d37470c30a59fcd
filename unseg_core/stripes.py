"""What is known of stripes that fresh networks find (docs/experiments.md, 5 to 13).

For those drawn by rule (protect.methods.grating) and those that a generator places (model.noise_filters).
"""

CYCLES, FINE = 16, 40
"""Per longer side of the image: of colours, and of brightness."""
MAGENTA, RED, YELLOW, WHITE = (1, -1, 1), (1, -1, -1), (1, 1, -1), (1, 1, 1)
"""Signs of red, green and blue; the opposites are green, cyan, blue and black."""
