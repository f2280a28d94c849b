"""One module a tool; each imports its package only where it runs."""

from benchmarks.peers.tool import Tool
from benchmarks.peers.tools import (
    brevitas_layers,
    mct,
    modelopt,
    nncf_quantize,
    ours,
    plinio_mps,
    torchao_quantize,
)

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        *ours.TOOLS,
        plinio_mps.TOOL,
        *mct.TOOLS,
        brevitas_layers.TOOL,
        modelopt.TOOL,
        torchao_quantize.TOOL,
        nncf_quantize.TOOL,
    )
}
"""All tools by name, in the order of the page."""
