//! Shared by the tests and the demo: laboratories of network namespaces.
