"""models.py - the checkpoints that the study begins with (models/README.md)."""
from work import ROOT

SMALL, LARGE, TEXT = ROOT / "models/scenes-small", ROOT / "models/scenes-large", ROOT / "models/scenes-drafter"
REFERENCE = ROOT / "models/scenes-massv"  # trained with PyTorch
