"""SSDD, ships in SAR images, with instances (Li et al., 2017; Su et al., IGARSS 2019) as RSPrompter lays it out."""

from __future__ import annotations

from unseg_core.data.layouts.rsprompter import rsprompter_kind

SSDD = rsprompter_kind("ssdd", "SSDD", "SSDD")
