//! Owns the control API: HTTP/1.1 with JSON over a local socket.
