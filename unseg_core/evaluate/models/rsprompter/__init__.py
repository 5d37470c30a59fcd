"""RSPrompter (Chen et al., IEEE TGRS 2024): SAM that is prompted by learned embeddings of detected objects.

The anchor-based variant, on torchvision's region proposals and box head and segment-anything's SAM.
"""

from __future__ import annotations

from unseg_core.evaluate.models.rsprompter.model import RSPROMPTER

__all__ = ["RSPROMPTER"]
