"""Online recommendations: the pipeline, its stages, the stores, the HTTP gateway and the Ray Serve shells."""
