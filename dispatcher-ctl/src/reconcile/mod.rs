//! Reconciliation: what runs, what is wanted, and the difference between them. Pure.
