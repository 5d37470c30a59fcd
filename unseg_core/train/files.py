"""Names of the files that a training leaves, and starts from."""

GENERATOR_FILE = "generator.safetensors"
SURROGATE_FILE = "surrogate.safetensors"
CARD_FILE = "card.json"
MODEL_CARD = "README.md"
PANEL_FILE = "panel.png"
