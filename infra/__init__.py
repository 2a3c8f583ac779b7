"""The kit: one typed topology, and what stands it up on Docker, Kubernetes and plain hosts."""
