"""Application logic, one file a verb: no grpc, no redis, no generated messages."""
