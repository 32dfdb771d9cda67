//! The HTTP API: types shared by server and command line, the server, the client.
