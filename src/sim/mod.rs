//! Virtual devices, written from the protocol references and not from our clients.
