"""Where records lie: folders, shards, prepared folders, TFDS."""
