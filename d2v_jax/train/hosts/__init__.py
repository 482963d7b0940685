"""One program on many hosts: who am I, who is there, do we agree, who was lost."""
