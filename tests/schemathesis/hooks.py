"""Tells schemathesis how to send a configuration: as it is."""

import schemathesis

schemathesis.serializer.alias("application/toml", "text/plain")
