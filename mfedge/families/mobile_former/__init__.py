"""Mobile-Former (Chen et al., CVPR 2022, arXiv 2108.05895): its spec, its costs, its public release's names."""
