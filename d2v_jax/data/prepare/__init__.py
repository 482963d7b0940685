"""`d2v data prepare`: any source to checked shards."""
