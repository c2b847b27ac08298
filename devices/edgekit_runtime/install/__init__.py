"""``edgekit-runtime install``: units for systemd, a container file, Kubernetes manifests; printed or written."""
