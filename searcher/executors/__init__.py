"""Where trials are trained: the coordinator's own threads, processes of this machine, or a cluster."""
