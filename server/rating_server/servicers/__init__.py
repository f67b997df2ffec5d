"""The gRPC surface: decode, call a use case, encode. Only this package sees generated messages."""
