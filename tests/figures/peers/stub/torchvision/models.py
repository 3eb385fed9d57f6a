"""Names that AtomAI imports and its deep kernel never uses."""

from __future__ import annotations

mobilenet_v2 = resnet50 = vgg16 = None
