"""The plan of a stack as Pulumi resources: on a Docker engine or on Kubernetes."""
