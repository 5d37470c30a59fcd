"""NWPU VHR-10 with instances (Cheng et al., ISPRS 2014; Su et al., IGARSS 2019) as RSPrompter lays it out."""

from __future__ import annotations

from unseg_core.data.layouts.rsprompter import rsprompter_kind

NWPU = rsprompter_kind("nwpu", "NWPU", "NWPU VHR-10")
