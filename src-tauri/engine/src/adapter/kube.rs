//! Owns the way into Kubernetes clusters.
