"""Microscaling formats by name: OCP's MX and NVIDIA's NVFP4, each a `QuantSpec` with other entries.

A new named spec is one entry here: it is an attribute of the room, and its name is read wherever a spec is.
Another element format, block size, scale format or rule is another spec::

    dataclasses.replace(pr.MXFP8_E4M3, scale_rule=pr.ScaleRule.RCEIL)
    pr.QuantSpec(pr.FloatFormat(3, 4), pr.PerGroup(8), scale_format=pr.parse_format("ue5m3"))
"""

from __future__ import annotations

import dataclasses
from typing import Any

from precision.formats._int_format import IntFormat
from precision.formats._named import E2M1, E2M3, E3M2, E4M3, E5M2, E8M0, Format
from precision.quantization._granularity import PerGroup
from precision.quantization._quant_spec import QuantSpec, named
from precision.quantization._scale_rules import Arithmetic, ScaleRule


def _mx(fmt: Format) -> QuantSpec:
    """Return a spec of OCP MX v1.0: blocks of 32, powers of two by FLOOR (section 6.3), ties to even."""
    return QuantSpec(fmt, PerGroup(32), scale_format=E8M0, scale_rule=ScaleRule.FLOOR)


#: OCP MX v1.0, table 1.
MXFP8_E4M3 = named("MXFP8_E4M3", _mx(E4M3))
MXFP8_E5M2 = named("MXFP8_E5M2", _mx(E5M2))
MXFP6_E2M3 = named("MXFP6_E2M3", _mx(E2M3))
MXFP6_E3M2 = named("MXFP6_E3M2", _mx(E3M2))
MXFP4 = named("MXFP4", _mx(E2M1))
MXINT8 = named("MXINT8", _mx(IntFormat(8, fraction_bits=6)))
#: MXINT8's kin with four bits: steps of 1/4, largest 7/4 (arXiv 2510.25602, section 3.2).
MXINT4 = named("MXINT4", _mx(IntFormat(4, fraction_bits=2)))


def _nv(fmt: Format, **options: Any) -> QuantSpec:
    """Return a spec of blocks of 16 with E4M3 scales below one float32 scale of the tensor."""
    return QuantSpec(fmt, PerGroup(16), scale_format=E4M3, tensor_scale=True, **options)


#: In the order of operations of arXiv 2509.25149, appendix B. A block's scale is at least 2**-9.
NVFP4 = named("NVFP4", _nv(E2M1, arithmetic=Arithmetic.NVFP4_PAPER))
#: In TransformerEngine's order (core_nvfp4.cuh), which lets a block's scale be zero.
NVFP4_TE = named("NVFP4_TE", _nv(E2M1, arithmetic=Arithmetic.TRANSFORMER_ENGINE, least_scale=0.0))
#: 4/6 (arXiv 2512.02010) as TransformerEngine has it: the lower absolute error, scales up to 256 for 6.
NVFP4_4OVER6 = named(
    "NVFP4_4OVER6",
    dataclasses.replace(NVFP4_TE, scale_rule=ScaleRule.FOUR_OVER_SIX_MAE, scale_bound=256.0),
)
#: Integers of -7 to 7 in NVFP4's place (arXiv 2510.25602). No unit or library fixes an order of operations
#: for it, so that it has the package's own: the division, which is nearest to x / scale.
NVINT4 = named("NVINT4", _nv(IntFormat(4)))
