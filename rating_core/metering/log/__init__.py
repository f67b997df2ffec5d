"""One log: entries, the protocol of commits, snapshots, archive (P1–P11, P14, P15)."""
