"""Ground floor: arrays and trees. Has never heard of learning."""
