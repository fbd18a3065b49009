//! Observes and changes one namespace of a cluster.
//!
//! Invariant: the cluster is written to through [`KubernetesWorld`] alone, every effect can be
//! repeated, and nothing without this installation's labels is touched. It must not know what is
//! wanted.
